"""Export of a round to a folder for labelling programs: crops, and files in their formats with the labels so far."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dino_assets.errors import MissingExtraError
from dino_assets.images.stage.footprint_files import write_geopackage
from dino_assets.labels.export_settings import LabelExportSettings
from dino_assets.labels.formats.records import Suggestion, Suggestions, TileCrop
from dino_assets.labels.formats.tables import LAYER
from dino_assets.labels.stage.round_files import (
    RoundToExport,
    encode_files,
    make_crops,
)
from dino_assets.labels.stage.stored_tiles import read_current_labels
from dino_assets.selections.stage.chosen_files import ChosenPlaces, read_chosen
from dino_assets.store.commits.listing import find_outputs, place_outputs
from dino_assets.store.objects import ObjectStore
from dino_assets.store.targets import write_target

# Suggests classes for tiles of a space, which are given as ids with their drops.
Suggest = Callable[[ObjectStore, str, Mapping[str, str]], Suggestions]


class WrittenFile(NamedTuple):
    """A written file of an export, and the crop that it is, if it is one."""

    path: Path
    crop: TileCrop | None


def export_labels(
    store: ObjectStore,
    name: str,
    *,
    folder: Path,
    space: str | None = None,
    settings: LabelExportSettings | None = None,
    suggest: Suggest | None = None,
    say: Callable[[str], object],
) -> Iterator[Path]:
    """Write a round's crops and files for labelling programs; yield each path.

    ``suggest`` suggests classes; None: there are no suggestions. A round without labels is written, too. ``say``
    is called with messages about what is left out.

    Raises:
        NotCommittedError: the round does not exist.
        CorruptObjectError: a picture of the round is missing or altered.
        TargetError: the folder cannot be written.
        DiskFullError: the disk is full.
    """
    labels = read_current_labels(store)
    outputs = find_outputs(store, "selections", name, space=space)
    for manifest, place in place_outputs(outputs, folder=folder):
        chosen = read_chosen(store, manifest)
        suggestions: Mapping[str, Suggestion] = {}
        if suggest is not None:
            space_name = str(manifest.recipe.output.space)
            suggestions = suggest(store, space_name, list_drops_of_tiles(chosen)).of_tile
        source = RoundToExport(manifest, chosen, place.name, labels, suggestions)
        for written in write_round(
            store, source, place, settings or LabelExportSettings(), say=say
        ):
            yield written.path


def list_drops_of_tiles(chosen: ChosenPlaces) -> dict[str, str]:
    """Map the ids of a round's tiles to their drops."""
    columns = (chosen.rows[name].to_pylist() for name in ("tile_id", "drop"))
    return dict(zip(*columns, strict=True))


def write_round(
    store: ObjectStore,
    source: RoundToExport,
    folder: Path,
    settings: LabelExportSettings,
    *,
    say: Callable[[str], object],
) -> Iterator[WrittenFile]:
    """Write the crops and files of a round to a folder; yield each.

    Raises:
        CorruptObjectError: a picture of the round is missing or altered.
        TargetError: the folder cannot be written.
        DiskFullError: the disk is full.
    """
    crops: list[TileCrop] = []
    for crop, jpeg in make_crops(store, source, settings):
        write_target(folder / crop.name, jpeg)
        yield WrittenFile(folder / crop.name, crop)
        crops.append(crop)
    for name, data in encode_files(store, source, tuple(crops), settings):
        if isinstance(data, bytes):
            write_target(folder / name, data)
        else:
            try:
                write_geopackage(folder / name, {LAYER: data})
            except MissingExtraError as err:
                say(f"{name} is not written. {err}")
                continue
        yield WrittenFile(folder / name, None)
