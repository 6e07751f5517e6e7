"""Check of a round's links: from the weights to each chosen tile's vector, against the bytes in the store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from dino_assets.counting import count_of
from dino_assets.embeddings.space import Space, name_space
from dino_assets.errors import CorruptObjectError, NotCommittedError
from dino_assets.selections.receipt import (
    RECEIPT,
    DropParts,
    RoundReceipt,
    StoredRow,
    TileLinks,
    parse_receipt,
)
from dino_assets.selections.stage.examples import read_stored
from dino_assets.selections.stage.labelled import LABELLED_INPUT, read_labelled
from dino_assets.selections.stage.paid import read_round
from dino_assets.selections.stage.receipts import hash_vector
from dino_assets.selections.stage.uncertainties import (
    UNCERTAINTY_INPUT,
    read_stored_uncertainties,
)
from dino_assets.store.commits import tables
from dino_assets.store.commits.manifests import (
    find_manifest,
    hash_content,
    list_content,
    read_manifest,
)
from dino_assets.store.commits.parts import part_key, read_part, verify_part
from dino_assets.store.commits.protocol import Manifest, OutputId, Part, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.objects import ObjectStore
from dino_assets.weights.checkpoint import digest_files
from dino_assets.weights.records import CheckpointFile
from dino_assets.weights.stage import OUTPUT as WEIGHTS

_TILE_COLUMNS = ("tile_id", "image_id", "path", "x", "y", "w", "h")


@dataclass(frozen=True)
class Link:
    """A link of a round's receipt, and what was compared; a broken one says what differs."""

    name: str
    detail: str
    is_broken: bool = False


class _BrokenError(Exception):
    """A link does not hold."""


def check_links(store: ObjectStore, output: OutputId) -> Iterator[Link]:
    """Check all links of a round in their order; the links after a broken one are checked too.

    The checks end early if the round or its receipt cannot be read, because all others need them.

    Raises:
        NotCommittedError: the round does not exist, or it was chosen by a version without receipts.
    """
    try:
        manifest = read_manifest(store, output)
        has_receipt = any(part.name == RECEIPT for part in manifest.parts)
        if not has_receipt:
            raise NotCommittedError(
                f"{output.drop} has no receipt: version {manifest.recipe.code_version} of `selections` wrote "
                "none. `dino-assets verify` without a round checks its files.",
                output=str(output),
                reason="no-receipt",
            )
        for part in manifest.parts:
            verify_part(store, part)
        yield Link("round", f"a table and {count_of(len(manifest.parts) - 1, 'file')}")
        receipt = read_receipt_of(store, manifest)
        yield Link("receipt", _compare_with_table(store, manifest, receipt))
    except CorruptObjectError as err:
        yield Link("round", str(err), is_broken=True)
        return
    except (_BrokenError, ValueError) as err:
        yield Link("receipt", str(err), is_broken=True)
        return
    yield from _check_stored_inputs(store, manifest, receipt)
    for name, check in (
        ("weights", _check_weights),
        ("preprocessing", _check_preprocessing),
        ("images", _check_images),
        ("tiles", _check_tiles),
        ("embeddings", _check_embeddings),
    ):
        try:
            yield Link(name, check(store, receipt))
        except (_BrokenError, CorruptObjectError, NotCommittedError, pa.ArrowInvalid) as err:
            yield Link(name, str(err), is_broken=True)


def _check_stored_inputs(
    store: ObjectStore, manifest: Manifest, receipt: RoundReceipt
) -> Iterator[Link]:
    """Check the inputs that are stored with the round, of those that it has."""
    checks: dict[str, tuple[bool, Callable[[], str]]] = {
        "examples": (
            bool(receipt.config.get("examples")),
            lambda: count_of(len(read_stored(store, manifest).rows), "vector"),
        ),
        "labelled": (
            LABELLED_INPUT in receipt.inputs,
            lambda: count_of(len(read_labelled(store, manifest).tile_ids), "labelled tile"),
        ),
        "uncertainties": (
            UNCERTAINTY_INPUT in receipt.inputs,
            lambda: count_of(len(read_stored_uncertainties(store, manifest).values), "number"),
        ),
    }
    for name, (is_there, check) in checks.items():
        if not is_there:
            continue
        try:
            yield Link(name, f"{check()} with the hash of the inputs")
        except CorruptObjectError as err:
            yield Link(name, str(err), is_broken=True)


def read_receipt_of(store: ObjectStore, manifest: Manifest) -> RoundReceipt:
    """Read the receipt of a committed round.

    Raises:
        CorruptObjectError: the receipt's bytes are not what was committed.
        ValueError: it is not a receipt.
    """
    part = next(part for part in manifest.parts if part.name == RECEIPT)
    return parse_receipt(read_part(store, part))


def _compare_with_table(store: ObjectStore, manifest: Manifest, receipt: RoundReceipt) -> str:
    """Compare the receipt with the round's recipe and table, and its drops with the recipe's inputs."""
    recipe, output = manifest.recipe, manifest.recipe.output
    of_recipe = (output.drop, output.space, recipe.code_version, recipe.config, recipe.inputs)
    of_receipt = (
        receipt.round, receipt.space, receipt.code_version, receipt.config, receipt.inputs,
    )  # fmt: skip
    if of_recipe != of_receipt:
        raise _BrokenError("the receipt is of another round, of other settings or of other inputs")
    rounds = open_table(store, "selections", space=output.space)
    columns = ["rank", "drop", *_TILE_COLUMNS]
    chosen = read_round(rounds, str(output.drop), columns).to_pylist()
    proved = [
        dict(zip(columns, (each.rank, each.drop, *_list_values(each)), strict=True))
        for each in receipt.tiles
    ]
    if {each.drop for each in receipt.tiles} != receipt.drops.keys():
        raise _BrokenError("the receipt's tiles are of other drops than its files")
    if chosen != proved:
        raise _BrokenError("the receipt has other tiles than the round's table")
    for drop, parts in receipt.drops.items():
        inputs = {drop: parts.embeddings}
        if f"tiles/{drop}" in receipt.inputs:
            inputs[f"tiles/{drop}"] = parts.tiles
        for name, content in inputs.items():
            if hash_content(content) != receipt.inputs.get(name):
                raise _BrokenError(f"the files of {name} do not have the hash that the inputs name")
    return f"agrees with the table of {count_of(len(chosen), 'tile')} and with the inputs' hashes"


def _list_values(links: TileLinks) -> tuple[object, ...]:
    return (links.tile_id, links.image_sha256, links.path, *links.window)


def _check_weights(store: ObjectStore, receipt: RoundReceipt) -> str:
    manifest = find_manifest(store, WEIGHTS)
    if manifest is None:
        raise _BrokenError("the store has no weights")
    for name in ("weights_sha256", "network"):
        if manifest.facts.get(name) != receipt.preprocessing.get(name):
            raise _BrokenError(
                f"the store has other weights now: {manifest.recipe.config['model']!r}, {name} "
                f"{str(manifest.facts.get(name))[:16]}…"
            )
    for part in manifest.parts:
        verify_part(store, part)
    sha256 = str(manifest.facts["weights_sha256"])
    files = [
        CheckpointFile(part.name, part.sha256, part.bytes)
        for part in manifest.parts
        if part.name and part.name.endswith(".safetensors")
    ]
    if sha256 not in {digest_files(files), *(file.sha256 for file in files)}:
        raise _BrokenError(f"the stored files do not have the sha256 {sha256[:16]}…")
    return f"{manifest.recipe.config['model']}, sha256 {sha256[:16]}…"


def _check_preprocessing(_: ObjectStore, receipt: RoundReceipt) -> str:
    try:
        space = name_space(Space(**receipt.preprocessing))
    except TypeError as err:
        raise _BrokenError(f"they are not the settings of a space: {err}") from err
    if space != receipt.space:
        raise _BrokenError(f"the settings have the hash {space}, not {receipt.space}")
    return f"the hash of its settings is the space {space}"


def _check_images(store: ObjectStore, receipt: RoundReceipt) -> str:
    images = open_table(store, "images", drops=receipt.drops)
    count = 0
    for drop, links in _by_drop(receipt).items():
        table = images.read(drop, ["image_id", "path"])
        listed = set(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
        for each in links:
            if (each.image_sha256, each.path) not in listed:
                raise _BrokenError(
                    f"drop {drop!r} has no photograph {each.path!r} with sha256 {each.image_sha256[:16]}…"
                )
        count += len({each.image_sha256 for each in links})
    return f"{count_of(count, 'photograph')} with the sha256 of the receipt"


def _check_tiles(store: ObjectStore, receipt: RoundReceipt) -> str:
    for drop in receipt.drops:
        read_manifest(store, OutputId("tiles", drop))
    for each, row in _read_rows(store, receipt, "tiles", _TILE_COLUMNS):
        if tuple(row[name].as_py() for name in _TILE_COLUMNS) != _list_values(each):
            raise _BrokenError(
                f"row {each.tile.row} of {each.tile.part[:16]}… is not {each.tile_id!r}"
            )
    return f"{count_of(len(receipt.tiles), 'window')} as in `tiles`"


def _check_embeddings(store: ObjectStore, receipt: RoundReceipt) -> str:
    for drop, parts in receipt.drops.items():
        recipe, content = _read_recipe(store, OutputId("embeddings", drop, receipt.space))
        if content != parts.embeddings:
            continue  # the drop was embedded again since; what the round was chosen from is compared below
        if recipe.config.get("space") != receipt.preprocessing:
            raise _BrokenError(f"the vectors of {drop!r} were made with other settings")
        if recipe.inputs.get("tiles") != hash_content(parts.tiles):
            raise _BrokenError(f"the vectors of {drop!r} were made of other tiles")
    column = str(receipt.config["column"])
    for each, row in _read_rows(store, receipt, "embeddings", ("tile_id", "image_id", column)):
        if (row["tile_id"].as_py(), row["image_id"].as_py()) != (each.tile_id, each.image_sha256):
            raise _BrokenError(
                f"row {each.embedding.row} of {each.embedding.part[:16]}… is not {each.tile_id!r}"
            )
        if hash_vector(row[column].values.to_numpy()) != each.vector_sha256:
            raise _BrokenError(f"{each.tile_id!r} has another vector")
    return f"{count_of(len(receipt.tiles), 'vector')} as in `embeddings`"


def _read_rows(
    store: ObjectStore, receipt: RoundReceipt, asset: str, columns: Sequence[str]
) -> Iterator[tuple[TileLinks, Mapping[str, pa.Scalar]]]:
    """Read the stored row of each chosen tile, part by part, each part once."""
    is_spaced = asset == "embeddings"
    by_part: dict[tuple[str, str], list[tuple[TileLinks, StoredRow]]] = {}
    for each in receipt.tiles:
        place = each.embedding if is_spaced else each.tile
        by_part.setdefault((each.drop, place.part), []).append((each, place))
    for (drop, sha256), links in sorted(by_part.items(), key=lambda item: item[0]):
        _check_named(receipt.drops[drop], asset, sha256)
        key = part_key(OutputId(asset, drop), sha256, ".parquet")
        table = tables.decode(read_part(store, Part(key, sha256, 0)), list(columns))
        for each, place in links:
            if place.row >= len(table):
                raise _BrokenError(f"{key!r} has no row {place.row}")
            yield each, {name: table[name][place.row] for name in columns}


def _read_recipe(
    store: ObjectStore, output: OutputId
) -> tuple[Recipe, tuple[tuple[str, int, str | None], ...]]:
    manifest = read_manifest(store, output)
    return manifest.recipe, list_content(manifest)


def _check_named(parts: DropParts, asset: str, sha256: str) -> None:
    if not any(sha256 == named for named, *_ in getattr(parts, asset)):
        raise _BrokenError(f"{sha256[:16]}… is not the sha256 of any file of `{asset}`")


def _by_drop(receipt: RoundReceipt) -> dict[str, list[TileLinks]]:
    return {drop: [each for each in receipt.tiles if each.drop == drop] for drop in receipt.drops}
