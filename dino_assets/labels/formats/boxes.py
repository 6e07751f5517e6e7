"""COCO and YOLO files of labels; they are parsed as a detector's boxes are, and every fault is listed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dino_assets.drops.boxes.coco import parse_coco
from dino_assets.drops.boxes.records import BoxFault, BoxFaults, BoxList, SeenPicture
from dino_assets.drops.boxes.yolo import parse_yolo
from dino_assets.labels.formats.records import FileRow, LabelFile, RejectedRow, TileCrop

# The place in which CVAT, Datumaro and FiftyOne expect it; names are those in the folder `images`.
COCO = "annotations/instances_default.json"
_PLACES = 10  # decimal places of YOLO's shares: a ten-thousandth of a pixel


def encode_coco(crops: Sequence[TileCrop], classes: Sequence[str]) -> bytes:
    """Encode crops as COCO; a class of the whole tile is a box as large as the picture."""
    number_of = {name: number for number, name in enumerate(classes, start=1)}
    annotations: list[dict[str, Any]] = []
    for image_id, crop in enumerate(crops, start=1):
        for name, box in crop.list_boxes():
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": number_of[name],
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
                "segmentation": [],
            })  # fmt: skip
    images = [
        {
            "id": image_id,
            "file_name": crop.file,
            "width": crop.width,
            "height": crop.height,
            "tile_id": crop.tile_id,
            "image_id": crop.image_id,
            "drop": crop.drop,
            "photograph": crop.path,
            "window": [crop.window.x, crop.window.y, crop.window.w, crop.window.h],
        }
        for image_id, crop in enumerate(crops, start=1)
    ]
    categories = [
        {"id": number, "name": name, "supercategory": ""} for name, number in number_of.items()
    ]
    body = {
        "info": {"description": "tiles of a round of dino-assets", "version": "1"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    return json.dumps(body, ensure_ascii=False, indent=1).encode() + b"\n"


def decode_coco(body: Mapping[str, Any]) -> LabelFile:
    """Decode the body of a COCO file."""
    rows = _RowList(is_relative=False)
    parse_coco(body, into=rows)
    labelled = {row.picture for row in rows.rows}
    return LabelFile(
        "coco", tuple(rows.rows), tuple(rows.rejected), max(0, rows.pictures - len(labelled))
    )


def encode_yolo(crops: Sequence[TileCrop], classes: Sequence[str]) -> dict[str, bytes]:
    """Encode crops as YOLO: ``data.yaml``, and a text file for each picture, empty without labels."""
    import yaml

    number_of = {name: number for number, name in enumerate(classes)}
    data = {"train": "images", "val": "images", "names": dict(enumerate(classes))}
    files = {"data.yaml": yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode()}
    for crop in crops:
        lines = [
            f"{number_of[name]} {_spell_shares(crop, box)}\n" for name, box in crop.list_boxes()
        ]
        files[f"labels/{crop.file.rpartition('.')[0]}.txt"] = "".join(lines).encode()
    return files


def decode_yolo(labels: Iterable[tuple[str, str | None]], names: Mapping[str, str]) -> LabelFile:
    """Decode label files, each given by its path without suffix and its text (None: it is not UTF-8)."""
    rows = _RowList(is_relative=True)
    empty = 0

    def count() -> Iterable[tuple[str, str | None]]:
        nonlocal empty
        for stem, text in labels:
            empty += text is not None and not text.strip()
            yield stem, text

    parse_yolo(count(), names, into=rows)
    return LabelFile("yolo", tuple(rows.rows), tuple(rows.rejected), empty)


def _spell_shares(crop: TileCrop, box: tuple[float, float, float, float]) -> str:
    left, top, width, height = box
    shares = (
        (left + width / 2) / crop.width,
        (top + height / 2) / crop.height,
        width / crop.width,
        height / crop.height,
    )
    return " ".join(f"{share:.{_PLACES}f}".rstrip("0").rstrip(".") for share in shares)


class _RowList(BoxList):
    """The boxes of a file as labels; each fault is listed, not only counted."""

    def __init__(self, *, is_relative: bool) -> None:
        super().__init__(is_relative=is_relative)
        self.rows: list[FileRow] = []
        self.rejected: list[RejectedRow] = []
        self.faults = _AllFaults(self)
        self._is_stem = is_relative

    def add(
        self,
        picture: SeenPicture,
        numbers: object,
        *,
        box_class: str | None,
        score: object,
        where: object,
    ) -> None:
        """Add a label if its numbers are usable."""
        before = len(self.boxes)
        super().add(picture, numbers, box_class=box_class, score=score, where=where)
        if len(self.boxes) == before:
            return
        box = self.boxes[-1]
        has_frame = box.frame_width is not None and box.frame_height is not None
        self.rows.append(
            FileRow(
                where=str(where),
                picture=box.file,
                class_name=box.box_class or "",
                box=(box.x, box.y, box.w, box.h),
                is_relative=box.is_relative,
                frame=(int(box.frame_width or 0), int(box.frame_height or 0))
                if has_frame
                else None,
                is_stem=self._is_stem,
            )
        )


class _AllFaults(BoxFaults):
    """Faults of a file of labels, each listed; a label whose class has no name is taken back."""

    def __init__(self, rows: _RowList) -> None:
        super().__init__()
        self._rows = rows

    def add(self, kind: BoxFault, where: object, *, count: int = 1) -> None:
        """List a fault."""
        place, picture, detail = str(where), "", ""
        if kind == "unknown-category":
            row = self._rows.rows.pop()
            place, picture, detail = row.where, row.picture, str(where)
        self._rows.rejected.append(RejectedRow(place, picture, kind, detail))  # type: ignore[arg-type]
