"""Receipts of rounds: every link from the weights to a chosen tile is checked, and the first broken one is named."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dino_assets.cli import main
from dino_assets.compute.devices import resolve_compute
from dino_assets.compute.settings import ComputeSettings
from dino_assets.drops.registry import find_drop
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import Source
from dino_assets.errors import NotCommittedError
from dino_assets.selections.receipt import (
    RECEIPT,
    DropParts,
    RoundReceipt,
    StoredRow,
    dump_receipt,
    parse_receipt,
)
from dino_assets.selections.stage.links import Link, check_links, read_receipt_of
from dino_assets.selections.stage.receipts import hash_vector
from dino_assets.selections.stage.recomputing import Recomputing, recompute
from dino_assets.settings.environment import find_cache
from dino_assets.store.commits import tables
from dino_assets.store.commits.manifests import (
    content_hash,
    dump_manifest,
    list_content,
    manifest_key,
    read_manifest,
)
from dino_assets.store.commits.parts import put_part, read_part
from dino_assets.store.commits.protocol import Manifest, OutputId
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.defs.test_rounds import chosen, pick
from dino_assets_tests.worlds.prepared import Prepared

SCRIPT = REPOSITORY / "examples" / "check_receipt.py"
STORED = ["round", "receipt", "weights", "preprocessing", "images", "tiles", "embeddings"]
COMPUTED = ["photographs", "vectors", "choice"]


@pytest.fixture
def lineage(lineage: Lineage, write_photo, prepared: Prepared) -> Lineage:
    """Two embedded drops of two photographs, and a round of eight tiles."""

    def prepare() -> None:
        for number, name in enumerate("ab"):
            folder = lineage.settings.root / "inbox" / name
            for photo in range(2):
                write_photo(folder / f"DJI_{photo:04d}.JPG", 1600, 1200, seed=10 * number + photo)
            lineage.register(name, folder)
        lineage.embed("a", "b")
        assert pick(lineage, budget=8).success

    prepared.fill(prepare, instance=lineage.instance)
    return lineage


@pytest.fixture
def output(lineage: Lineage) -> OutputId:
    return chosen(lineage, 1).recipe.output


@pytest.fixture
def receipt(lineage: Lineage, output: OutputId) -> RoundReceipt:
    return read_receipt_of(lineage.store, read_manifest(lineage.store, output))


def find_broken(links: list[Link]) -> list[str]:
    return [link.name for link in links if link.is_broken]


def check(lineage: Lineage, output: OutputId) -> list[str]:
    """Names of the broken links that the store shows."""
    return find_broken(list(check_links(lineage.store, output)))


def compute_again(lineage: Lineage, output: OutputId) -> list[Link]:
    def open_drop(drop: str) -> Source:
        return open_source(find_drop(lineage.store, drop).source, root=lineage.settings.root)

    how = Recomputing(
        lineage.store, open_drop, resolve_compute(ComputeSettings(device="cpu")), find_cache()
    )
    receipt = read_receipt_of(lineage.store, read_manifest(lineage.store, output))
    return list(recompute(how, output, receipt))


def run_script(lineage: Lineage, receipt: RoundReceipt) -> subprocess.CompletedProcess[str]:
    root = lineage.settings.root
    (root / RECEIPT).write_bytes(dump_receipt(receipt))
    photos = [f"--photos={drop}={root / 'inbox' / drop}" for drop in "ab"]
    command = [sys.executable, str(SCRIPT), str(root / RECEIPT), str(root / "data"), *photos]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def flip_a_byte(lineage: Lineage, key: str, place: float) -> None:
    data = bytearray(lineage.store.get(key))
    data[int(place * (len(data) - 1))] ^= 1
    lineage.store.put(key, bytes(data))


def put_manifest(lineage: Lineage, manifest: Manifest) -> None:
    lineage.store.put(manifest_key(manifest.recipe.output), dump_manifest(manifest))


def forge(lineage: Lineage, output: OutputId, receipt: RoundReceipt, **tables_of: pa.Table) -> None:
    """Give the round another receipt, and another ``table`` if given, under a manifest that fits them."""
    manifest = read_manifest(lineage.store, output)
    data = dump_receipt(receipt)
    new = replace(put_part(lineage.store, output, data, rows=0, suffix=".json"), name=RECEIPT)
    parts = [new if part.name == RECEIPT else part for part in manifest.parts]
    if table := tables_of.get("table"):
        ((_, encoded),) = tables.encode(table)
        stored = put_part(lineage.store, output, encoded, rows=table.num_rows)
        parts = [stored if part.name is None else part for part in parts]
    recipe = replace(manifest.recipe, config=receipt.config, inputs=receipt.inputs)
    put_manifest(lineage, replace(manifest, recipe=recipe, parts=tuple(parts)))


def test_receipt__every_link_holds(lineage: Lineage, output: OutputId, receipt: RoundReceipt):
    links = [*check_links(lineage.store, output), *compute_again(lineage, output)]
    assert [link.name for link in links] == STORED + COMPUTED
    assert find_broken(links) == []
    assert {each.drop for each in receipt.tiles} == set(receipt.drops) == {"a", "b"}
    process = run_script(lineage, receipt)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "8 tiles" in process.stdout
    assert len(SCRIPT.read_text().splitlines()) <= 100


def test_receipt__is_what_was_parsed(receipt: RoundReceipt):
    data = dump_receipt(receipt)
    assert parse_receipt(data) == receipt
    for other in (b"{}", b"[]", b"", data.replace(b'"format": 1', b'"format": 2')):
        with pytest.raises(ValueError, match=r"\w"):
            parse_receipt(other)


@pytest.mark.parametrize("place", [0.0, 0.71])
def test_receipt__a_flipped_byte_anywhere(
    lineage: Lineage, output: OutputId, receipt: RoundReceipt, place: float
):
    """Each object that a chosen tile comes from: manifests, weights, tables, pictures, the receipt itself."""
    used = {each.embedding.part for each in receipt.tiles} | {
        each.tile.part for each in receipt.tiles
    }
    first_broken: dict[str, set[str]] = {}
    for info in list(lineage.store.list()):
        kind, asset = info.key.split("/")[:2]
        is_read = kind in ("manifests", "parts") and (
            asset in ("weights", "selections")
            or (asset == "images" and info.key.endswith((".json", ".parquet")))
            or (
                asset in ("tiles", "embeddings")
                and (kind == "manifests" or Path(info.key).stem in used)
            )
        )
        if is_read:
            whole = lineage.store.get(info.key)
            flip_a_byte(lineage, info.key, place)
            first_broken.setdefault(asset, set()).update(check(lineage, output)[:1] or {"none"})
            lineage.store.put(info.key, whole)
    assert first_broken == {
        "weights": {"weights"},
        "images": {"images"},
        "tiles": {"tiles"},
        "embeddings": {"embeddings"},
        "selections": {"round"},
    }
    assert check(lineage, output) == []


def change_tile(receipt: RoundReceipt, **changes: object) -> RoundReceipt:
    return replace(receipt, tiles=(replace(receipt.tiles[0], **changes), *receipt.tiles[1:]))


def change_parts(receipt: RoundReceipt) -> RoundReceipt:
    parts = DropParts(receipt.drops["a"].tiles, (("0" * 64, 24, None),))
    return replace(receipt, drops={**receipt.drops, "a": parts})


FORGERIES: dict[str, tuple[Callable[[RoundReceipt], RoundReceipt], str]] = {
    "window": (lambda r: change_tile(r, window=(1, 2, 512, 512)), "receipt"),
    "photograph": (lambda r: change_tile(r, image_sha256="0" * 64), "receipt"),
    "space": (lambda r: replace(r, space="0" * 16), "receipt"),
    "layer": (
        lambda r: replace(r, preprocessing={**r.preprocessing, "layer": 1}),
        "preprocessing",
    ),
    "no settings": (lambda r: replace(r, preprocessing={"layer": 1}), "weights"),
    "weights": (
        lambda r: replace(r, preprocessing={**r.preprocessing, "weights_sha256": "0" * 64}),
        "weights",
    ),
    "files of a drop": (change_parts, "receipt"),
    "row of the tile": (
        lambda r: change_tile(r, tile=replace(r.tiles[0].tile, row=r.tiles[0].tile.row ^ 1)),
        "tiles",
    ),
    "row below the file": (
        lambda r: change_tile(r, tile=replace(r.tiles[0].tile, row=-1)),
        "receipt",
    ),
    "drop without files": (lambda r: replace(r, drops={"b": r.drops["b"]}), "receipt"),
    "row beyond the file": (
        lambda r: change_tile(r, tile=replace(r.tiles[0].tile, row=10_000)),
        "tiles",
    ),
    "file of the vector": (
        lambda r: change_tile(r, embedding=StoredRow("0" * 64, 0)),
        "embeddings",
    ),
    "vector": (lambda r: change_tile(r, vector_sha256="0" * 64), "embeddings"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_receipt__forged(lineage: Lineage, output: OutputId, receipt: RoundReceipt, name: str):
    """Its manifest was sealed again, so only the links show the forgery."""
    change, expected = FORGERIES[name]
    forge(lineage, output, change(receipt))
    assert not list(verify(lineage.store))
    assert check(lineage, output)[:1] == [expected]


@pytest.mark.parametrize(
    ("name", "link"),
    [("layer", "preprocessing"), ("row of the tile", "tiles"), ("vector", "embeddings")],
)
def test_script__names_the_broken_link(
    lineage: Lineage, receipt: RoundReceipt, name: str, link: str
):
    process = run_script(lineage, FORGERIES[name][0](receipt))
    assert (process.returncode, process.stderr.split(":")[0]) == (1, f"BROKEN {link}")


@pytest.mark.parametrize("asset", ["weights", "tiles", "embeddings", "photographs"])
def test_script__flipped_byte(lineage: Lineage, receipt: RoundReceipt, asset: str):
    first = receipt.tiles[0]
    if asset == "photographs":
        path = lineage.settings.root / "inbox" / first.drop / first.path
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        sha256 = {
            "weights": receipt.preprocessing["weights_sha256"],
            "tiles": first.tile.part,
            "embeddings": first.embedding.part,
        }[asset]
        (key,) = [i.key for i in lineage.store.list(f"parts/{asset}") if Path(i.key).stem == sha256]
        flip_a_byte(lineage, key, 0.5)
    process = run_script(lineage, receipt)
    assert (process.returncode, process.stderr.split(":")[0]) == (1, f"BROKEN {asset}")


def test_recompute__changed_photograph(lineage: Lineage, output: OutputId, receipt: RoundReceipt):
    first = receipt.tiles[0]
    path = lineage.settings.root / "inbox" / first.drop / first.path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert check(lineage, output) == []
    assert find_broken(compute_again(lineage, output))[:1] == ["photographs"]


def test_recompute__consistently_forged_vector(
    lineage: Lineage, output: OutputId, receipt: RoundReceipt
):
    """A vector is replaced, and every hash after it is written anew: only embedding it again shows that."""
    first = receipt.tiles[0]
    embedded = read_manifest(lineage.store, OutputId("embeddings", first.drop, output.space))
    (part,) = [part for part in embedded.parts if part.sha256 == first.embedding.part]
    table = tables.decode(read_part(lineage.store, part))
    column = table["cls"].combine_chunks()
    numbers = column.flatten().to_numpy().reshape(len(column), -1).copy()
    numbers[first.embedding.row] = numbers[first.embedding.row][::-1]
    forged_column = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), numbers.shape[1])
    position = table.schema.get_field_index("cls")
    forged_table = table.set_column(position, table.schema.field("cls"), forged_column)
    ((_, data),) = tables.encode(forged_table)
    forged_part = put_part(lineage.store, embedded.recipe.output, data, rows=part.rows)
    parts = [forged_part if each is part else each for each in embedded.parts]
    forged = replace(embedded, parts=tuple(parts))
    put_manifest(lineage, forged)
    tiles = [
        replace(each, embedding=StoredRow(forged_part.sha256, each.embedding.row))
        if each.embedding.part == part.sha256
        else each
        for each in receipt.tiles
    ]
    tiles[0] = replace(
        tiles[0], vector_sha256=hash_vector(np.asarray(numbers[first.embedding.row]))
    )
    of_drop = DropParts(receipt.drops[first.drop].tiles, list_content(forged))
    forge(
        lineage,
        output,
        replace(
            receipt,
            inputs={**receipt.inputs, first.drop: content_hash(forged)},
            drops={**receipt.drops, first.drop: of_drop},
            tiles=tuple(tiles),
        ),
    )
    assert check(lineage, output) == []
    assert find_broken(compute_again(lineage, output))[:1] == ["vectors"]


def test_recompute__forged_choice(lineage: Lineage, output: OutputId, receipt: RoundReceipt):
    """Two tiles change their ranks, in the table and in the receipt."""
    manifest = read_manifest(lineage.store, output)
    (part,) = [part for part in manifest.parts if part.name is None]
    table = tables.decode(read_part(lineage.store, part))
    order = [1, 0, *range(2, len(table))]
    swapped = table.take(order).set_column(
        table.schema.get_field_index("rank"), table.schema.field("rank"), table["rank"]
    )
    one, other, *rest = receipt.tiles
    tiles = (replace(other, rank=one.rank), replace(one, rank=other.rank), *rest)
    forge(lineage, output, replace(receipt, tiles=tiles), table=swapped)
    assert check(lineage, output) == []
    assert find_broken(compute_again(lineage, output)) == ["choice"]


def test_recompute__the_drop_was_embedded_anew_since(lineage: Lineage, output: OutputId):
    """What the round was chosen from is still there, but it cannot be chosen again."""
    assert lineage.run("a", only=["embeddings"], embeddings={"columns": ["cls", "mean"]}).success
    assert check(lineage, output) == []
    links = compute_again(lineage, output)
    assert find_broken(links) == ["choice"]


def test_receipt__round_with_shares_for_classes(lineage: Lineage, receipt: RoundReceipt):
    """Its examples are checked too, and it is chosen again although the pictures are gone."""
    root = lineage.settings.root
    first, second = receipt.tiles[0], receipt.tiles[1]
    window = ",".join(map(str, second.window))
    photo = shutil.copy(root / "inbox" / second.drop / second.path, root / "fog.jpg")
    shares = {"smoke": 3, "fog": 2, "explore": 1}
    examples = {"smoke": [first.tile_id], "fog": [f"fog.jpg:{window}"]}
    assert pick(lineage, round=2, budget=20, shares=shares, examples=examples).success
    second_round = chosen(lineage, 2).recipe.output
    assert second_round.drop == "round-0002"
    assert main(["select", "--round", "2", "--all-windows", *list_flags(shares, examples)]) == 0
    assert main(["verify"]) == 0
    photo.unlink()
    links = [*check_links(lineage.store, second_round), *compute_again(lineage, second_round)]
    assert [link.name for link in links] == [*STORED[:2], "examples", *STORED[2:], *COMPUTED]
    assert find_broken(links) == []
    metadata = lineage.metadata("selections")
    assert metadata["shares"]["smoke"]["picked"] == 3
    new_receipt = read_receipt_of(lineage.store, read_manifest(lineage.store, second_round))
    assert new_receipt.config["examples"]["fog"] == [f"fog.jpg:{window}"]
    process = run_script(lineage, new_receipt)
    assert process.returncode == 0, process.stdout + process.stderr
    # The same request finds the round, and so does the command without the file.
    assert pick(lineage, round=2, budget=20, shares=shares, examples=examples).success
    assert lineage.metadata("selections")["was_reused"] is True


def list_flags(shares: dict[str, int], examples: dict[str, list[str]]) -> list[str]:
    words = [f"--share={name}={count}" for name, count in shares.items()]
    return words + [
        f"--example={name}={query}" for name, each in examples.items() for query in each
    ]


def test_links__round_without_a_receipt(lineage: Lineage, output: OutputId):
    manifest = read_manifest(lineage.store, output)
    parts = tuple(part for part in manifest.parts if part.name != RECEIPT)
    recipe = replace(manifest.recipe, code_version="6")
    put_manifest(lineage, replace(manifest, recipe=recipe, parts=parts))
    with pytest.raises(NotCommittedError) as caught:
        list(check_links(lineage.store, output))
    assert caught.value.reason == "no-receipt"


def test_verify__round(lineage: Lineage, output: OutputId, receipt: RoundReceipt, capsys):
    assert main(["verify", "1"]) == 0
    assert "7 links, and each holds" in capsys.readouterr().out
    assert main(["verify", "round-0001", "--recompute", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [link["name"] for link in printed["links"]] == STORED + COMPUTED
    assert (printed["round"], printed["first_broken"]) == ("round-0001", None)
    forge(lineage, output, FORGERIES["vector"][0](receipt))
    assert main(["verify", "round-0001", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["first_broken"] == "embeddings"
    assert main(["verify", "round-0001"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "the first broken link is embeddings"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--recompute"], "--recompute"),
        (["--space", "x"], "--space"),
        (["1", "--repair"], "--repair"),
        (["round-0009"], "round-0009"),
    ],
)
def test_verify__refused(lineage: Lineage, capsys, words: list[str], named: str):
    assert main(["verify", *words]) == 1
    assert named in capsys.readouterr().err
