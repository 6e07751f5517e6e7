"""Pictures of labels: those that a round has already, and otherwise cut from the photographs."""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from PIL import Image

from dino_assets.counting import count_of
from dino_assets.drops.sources.source import Source
from dino_assets.images.pixels import open_pixels
from dino_assets.images.records import Pixels
from dino_assets.labels.crops import ShotFacts, add_exif
from dino_assets.labels.records import Label
from dino_assets.labels.stage.stored_tiles import (
    read_chosen_tiles,
    read_images,
    read_rows,
    read_shots,
)
from dino_assets.selections.stage.pictures import CROP_QUALITY
from dino_assets.selections.stage.unreadable import OF_ONE_DROP, explain
from dino_assets.store.commits.parts import read_part
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import cut_tiles
from dino_assets.tiles.rows import ImageToCut, TileRow

MAX_SIDE_PX = 1024  # of a box or a whole photograph; a tile has its own side


class LabelPictures:
    """Pictures of labels: those that a round has already, and otherwise cut from the photographs."""

    def __init__(
        self,
        store: ObjectStore,
        labels: Sequence[Label],
        open_source: Callable[[str], Source],
        say: Callable[[str], object],
    ) -> None:
        self._store = store
        self._labels = labels
        self._open_source = open_source
        self._say = say
        self._chosen = read_chosen_tiles(store)
        drops = {label.drop for label in labels}
        tile_ids = {label.tile_id for label in labels if label.tile_id}
        image_ids = {label.image_id for label in labels}
        self._tiles = {
            tile_id: row for tile_id, (_, row) in read_rows(store, drops, tile_ids).items()
        }
        self._images = read_images(store, drops, image_ids)
        self._shots = read_shots(store, drops, image_ids)

    def walk(self) -> Iterator[tuple[Label, bytes | None]]:
        """Yield each label with its JPEG; a photograph is opened once for all its labels."""
        for (drop, path, image_id), group in groupby(
            self._labels, lambda label: (label.drop, label.path, label.image_id)
        ):
            labels = list(group)
            jpegs = {label.label_id: self._read_stored(label) for label in labels}
            to_cut = [label for label in labels if jpegs[label.label_id] is None]
            if to_cut:
                try:
                    jpegs |= self._cut(drop, image_id, to_cut)
                except OF_ONE_DROP as err:
                    why = explain(self._store, err)
                    self._say(f"no picture for {count_of(len(to_cut), 'label')} of {path}: {why}")
            shot = self._shots.get(image_id, ShotFacts())
            for label in labels:
                jpeg = jpegs[label.label_id]
                description = label.tile_id or ""
                yield label, jpeg and add_exif(jpeg, shot, description=description)

    def _read_stored(self, label: Label) -> bytes | None:
        tile_id = label.tile_id or ""
        tile = self._chosen.tiles.get(tile_id)
        if tile is None:
            return None
        parts = self._chosen.manifests[self._chosen.rounds[tile_id]].parts
        part = next((part for part in parts if part.name == tile.picture), None)
        return None if part is None else read_part(self._store, part)

    def _cut(self, drop: str, image_id: str, labels: Sequence[Label]) -> dict[str, bytes | None]:
        image = self._images.get(image_id)
        if image is None:
            self._say(
                f"no picture for {labels[0].path}: it is not in `images` of drop {drop} any more"
            )
            return {}
        with open_pixels(
            self._open_source(drop),
            image.path,
            image_id,
            is_mosaic=image.is_mosaic,
            low=image.scale_low,
            high=image.scale_high,
        ) as pixels:
            return {
                label.label_id: _cut(pixels, label, image, self._tiles.get(label.tile_id or ""))
                for label in labels
            }


def _cut(pixels: Pixels, label: Label, image: ImageToCut, tile: TileRow | None) -> bytes | None:
    """Cut the picture of a label; None for a window of a mosaic that is too large to be read."""
    if tile is not None:
        window = np.array([[tile.x, tile.y, tile.w, tile.h]], np.int32)
        cut = Image.fromarray(cut_tiles(pixels, window, tile.side_px, span_px=tile.span_px)[0])
    elif image.is_mosaic and label.w * label.h > (16 * MAX_SIDE_PX) ** 2:
        return None
    else:
        cut = Image.fromarray(
            np.ascontiguousarray(pixels[label.y : label.y + label.h, label.x : label.x + label.w])
        )
        cut.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    cut.save(sink, "JPEG", quality=CROP_QUALITY)
    return sink.getvalue()
