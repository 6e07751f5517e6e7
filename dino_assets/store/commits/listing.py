"""Lookup and export of committed outputs by asset and drop."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import MappingProxyType

from dino_assets.errors import NotCommittedError
from dino_assets.store.commits.catalogue import ASSETS
from dino_assets.store.commits.manifests import read_manifests
from dino_assets.store.commits.parts import fetch_part
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.objects import ObjectStore
from dino_assets.store.targets import writing


def find_outputs(
    store: ObjectStore, asset: str, drop: str | None = None, *, space: str | None = None
) -> list[Manifest]:
    """List an asset's committed outputs for one drop; without ``drop``, list the outputs for all drops.

    There may be one output in each space; ``space`` chooses one of them.

    Raises:
        NotCommittedError: there is no such output; the message lists the existing outputs.
    """
    keys = sorted(info.key for info in store.list(f"manifests/{asset}"))
    wanted = [key for key in keys if key.endswith(f"/{drop or '_'}.json")]
    if space:
        wanted = [key for key in wanted if key.split("/")[2] == space]
    outputs = read_manifests(store, wanted)
    if not outputs:
        names = sorted({key.rpartition("/")[2].removesuffix(".json") for key in keys} - {"_"})
        advice = "Materialise it first, in Dagster's UI or by a command such as `dino-assets run`."
        if names:
            advice = f"It exists for: {', '.join(names[:20])}."
        if asset not in ASSETS:
            advice = f"Assets are: {', '.join(ASSETS)}."
        of = f" of drop {drop!r}" if drop else ""
        raise NotCommittedError(
            f"asset {asset!r}{of} is not in store {store.url!r}. {advice}",
            output=str(OutputId(asset, drop, space)),
        )
    return outputs


def export_files(
    store: ObjectStore,
    asset: str,
    drop: str | None = None,
    *,
    folder: Path,
    space: str | None = None,
) -> Iterator[Path]:
    """Write the files of an asset's outputs, and their tables as ``<asset>-<n>.parquet``; yield each path.

    ``drop`` and ``space`` choose the outputs as in ``find_outputs``.
    """
    for manifest, place in place_outputs(
        find_outputs(store, asset, drop, space=space), folder=folder
    ):
        yield from export_output(store, manifest, folder=place)


def place_outputs(outputs: Sequence[Manifest], *, folder: Path) -> Iterator[tuple[Manifest, Path]]:
    """Yield each output with the folder to write it to.

    A single output is written to ``folder`` itself. Several outputs belong to different spaces, and each
    gets a sub-folder named after its space.
    """
    for manifest in outputs:
        space = str(manifest.recipe.output.space)
        yield manifest, folder / space if len(outputs) > 1 else folder


def export_output(
    store: ObjectStore,
    manifest: Manifest,
    *,
    folder: Path,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Path]:
    """Write the files and the table of one output, and yield each path.

    ``names`` maps a stored file name to the name to write; other files keep their names.

    Raises:
        TargetError: the folder cannot be written.
        DiskFullError: the disk is full.
        CorruptObjectError: a file is not what was committed.
    """
    numbers = count()
    for part in manifest.parts:
        name = part.name or f"{manifest.recipe.output.asset}-{next(numbers)}.parquet"
        path = folder / names.get(name, name)
        with writing(path) as aside:
            fetch_part(store, part, aside)
        yield path


def list_spaces(store: ObjectStore, asset: str) -> list[str]:
    """List the embedding spaces in which an asset has committed outputs."""
    keys = (info.key.split("/") for info in store.list(f"manifests/{asset}"))
    return sorted({key[2] for key in keys if len(key) == 4})
