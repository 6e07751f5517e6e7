"""Draft of an exported round: one zip file for labelling programs, a table of what it says, and a contact sheet."""

import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dino_assets.counting import count_of
from dino_assets.drawing.contact_sheet import make_contact_sheet
from dino_assets.errors import NotCommittedError
from dino_assets.labels.export_settings import OUT_FORMATS, LabelExportSettings
from dino_assets.labels.formats.records import Suggestions, TileCrop
from dino_assets.labels.stage.exporting import Suggest, list_drops_of_tiles, write_round
from dino_assets.labels.stage.reading import hash_labels, read_labels
from dino_assets.labels.stage.round_files import RoundToExport
from dino_assets.selections.rounds import number_of
from dino_assets.selections.stage.chosen_files import read_chosen
from dino_assets.selections.stage.pictures import SHEET_CELL_PX, SHEET_TILES
from dino_assets.settings.described import to_recipe
from dino_assets.store.commits.columns import columns_of, make_batch
from dino_assets.store.commits.manifests import content_hash
from dino_assets.store.commits.parts import describe_file
from dino_assets.store.commits.protocol import (
    Draft,
    Manifest,
    OutputId,
    OutputWriter,
    Recipe,
)
from dino_assets.store.commits.reading import CommittedTable, open_table

CODE_VERSION = "1"
ASSET, SHEET = "label_exports", "contact-sheet.jpg"
# Equal contents give equal bytes: the zip format has no earlier date.
_DATE = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o644 << 16
_BOX_COLOUR, _BOX_LINE_PX = (213, 94, 0), 3
_PICTURES = frozenset({".jpg"})  # compressed already


@dataclass(frozen=True, slots=True)
class ExportedTile:
    """A row of ``label_exports``: a tile of the round, and what the exported files say about it."""

    rank: Annotated[int, pa.int32()]
    tile_id: str
    drop: str
    path: str
    file: str
    class_name: str | None
    box_classes: Annotated[tuple[str, ...], pa.list_(pa.string())]
    suggestion: str | None
    suggestion_score: float | None


SCHEMA = pa.schema(columns_of(ExportedTile))


def draft_label_exports(
    rounds: CommittedTable,
    name: str,
    settings: LabelExportSettings,
    *,
    suggest: Suggest,
    cache: Path,
) -> Draft:
    """Draft the files of a round for labelling programs, with the committed labels and a model's suggestions.

    Without a ``name``, it is the latest round of the space. ``cache`` is the folder for temporary files.

    Raises:
        NotCommittedError: the space has no round, or none of this name.
    """
    manifest = _find_round(rounds, name)
    store, output = rounds.store, manifest.recipe.output
    chosen = read_chosen(store, manifest)
    drop_of_tile = list_drops_of_tiles(chosen)
    suggestions = Suggestions()
    if settings.suggestions:
        suggestions = suggest(store, str(output.space), drop_of_tile)
    drops = sorted(set(drop_of_tile.values()))
    inputs = {f"selections/{output.drop}": content_hash(manifest)}
    for asset in ("images", "tiles"):
        of_drops = open_table(store, asset, drops=drops).manifests
        inputs |= {f"{asset}/{each.recipe.output.drop}": content_hash(each) for each in of_drops}
    inputs |= {**hash_labels(store), **suggestions.inputs}
    recipe = Recipe(
        OutputId(ASSET, output.drop, output.space), CODE_VERSION, to_recipe(settings), inputs
    )

    def produce(out: OutputWriter) -> None:
        source = RoundToExport(
            manifest, chosen, str(output.drop), read_labels(store), suggestions.of_tile
        )
        warnings: list[str] = []
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".exporting-", dir=cache) as aside:
            folder = Path(aside) / source.folder_name
            written = list(write_round(store, source, folder, settings, say=warnings.append))
            crops = [each.crop for each in written if each.crop is not None]
            zipped = folder.with_suffix(".zip")
            _zip(zipped, folder, sorted(each.path for each in written))
            out.rows(make_batch(_make_rows(crops), SCHEMA))
            out.file(SHEET, _draw_sheet(folder, crops, source.name))
            out.local_file(describe_file(folder.parent, zipped.name))
        # Only the GeoPackage needs an extra, and a warning says that it is not there.
        left_out = {"geopackage"} if warnings else set()
        facts = _count(crops, settings, left_out=left_out)
        out.facts(facts | ({"warnings": warnings} if warnings else {}))

    return Draft(recipe, produce, SCHEMA)


def _find_round(rounds: CommittedTable, name: str) -> Manifest:
    named = [each for each in rounds.manifests if name in ("", each.recipe.output.drop)]
    if not named:
        names = ", ".join(str(each.recipe.output.drop) for each in rounds.manifests)
        raise NotCommittedError(
            f"space {rounds.space} has no round {name or 'yet'}. "
            + (f"It has: {names}." if names else "Choose one: materialise `selections`.")
        )
    return max(named, key=lambda each: number_of(str(each.recipe.output.drop)))


def _make_rows(crops: Iterable[TileCrop]) -> list[ExportedTile]:
    return [
        ExportedTile(
            rank=crop.more["rank"],
            tile_id=crop.tile_id,
            drop=crop.drop,
            path=crop.path,
            file=crop.name,
            class_name=crop.class_name,
            box_classes=tuple(each.class_name for each in crop.boxes),
            suggestion=crop.suggestion.class_name if crop.suggestion else None,
            suggestion_score=crop.suggestion.score if crop.suggestion else None,
        )
        for crop in crops
    ]


def _zip(target: Path, folder: Path, paths: Sequence[Path]) -> None:
    """Zip files below a folder of the archive's name, in the given order and without times."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in paths:
            entry = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", _DATE)
            is_dense = path.suffix in _PICTURES
            entry.compress_type = zipfile.ZIP_STORED if is_dense else zipfile.ZIP_DEFLATED
            entry.external_attr, entry.create_system = _FILE_MODE, 3  # as on Unix, everywhere
            archive.writestr(entry, path.read_bytes())


def _draw_sheet(folder: Path, crops: Sequence[TileCrop], round_name: str) -> bytes:
    """Draw the first crops with their boxes, each with its class, or the suggested class and a question mark."""
    cells = [(_draw_cell(folder / crop.name, crop), _caption(crop)) for crop in crops[:SHEET_TILES]]
    labelled = sum(crop.is_labelled for crop in crops)
    title = f"{round_name}: {count_of(len(crops), 'tile')}, {labelled} labelled"
    if len(crops) > len(cells):
        title += f"; the first {len(cells)} are drawn"
    return make_contact_sheet(cells, cell_px=SHEET_CELL_PX, title=title)


def _draw_cell(path: Path, crop: TileCrop) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        picture = opened.convert("RGB").resize((SHEET_CELL_PX, SHEET_CELL_PX))
    draw = ImageDraw.Draw(picture)
    across, down = SHEET_CELL_PX / crop.width, SHEET_CELL_PX / crop.height
    for each in crop.boxes:
        left, top, width, height = each.box
        corners = (left * across, top * down, (left + width) * across, (top + height) * down)
        draw.rectangle(corners, outline=_BOX_COLOUR, width=_BOX_LINE_PX)
    return np.asarray(picture)


def _caption(crop: TileCrop) -> str:
    counts = Counter(each.class_name for each in crop.boxes)
    words = [crop.class_name] if crop.class_name is not None else []
    words += [f"{count} × {name}" if count > 1 else name for name, count in sorted(counts.items())]
    if not words and crop.suggestion is not None:
        score = crop.suggestion.score
        words = [f"{crop.suggestion.class_name}?" + ("" if score is None else f" {score:.0%}")]
    return f"{crop.more['rank']}. {', '.join(words) or 'no class yet'}"


def _count(
    crops: Sequence[TileCrop], settings: LabelExportSettings, *, left_out: Iterable[str]
) -> dict[str, Any]:
    classes = Counter(name for crop in crops for name, _ in crop.list_boxes())
    return {
        "tiles": len(crops),
        "labelled": sum(crop.is_labelled for crop in crops),
        "boxes": sum(len(crop.boxes) for crop in crops),
        "suggested": sum(crop.suggestion is not None for crop in crops),
        "classes": dict(sorted(classes.items())),
        "formats": [f for f in OUT_FORMATS if settings.lists(f) and f not in left_out],
    }
