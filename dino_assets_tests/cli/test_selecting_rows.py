"""``select FILE``: rows of a file of embeddings, chosen as tiles are."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dino_assets import save_embeddings
from dino_assets.cli import main
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets.selections.choosing import select

IDS = [f"folder/{number}.jpg" for number in range(60)]
VECTORS = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)


def choose(strategy: str, budget: int) -> list[int]:
    rng = np.random.default_rng(42)
    units = scale_to_unit(VECTORS)
    return select(units, budget=budget, strategy=strategy, rng=rng).indices.tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_select__rows_of_a_file_with_ids(ending: str, tmp_path: Path, capsys):
    file = save_embeddings(VECTORS, IDS, tmp_path / f"vectors{ending}")
    assert main(["select", str(file), "-n", "5", "--to", "out/chosen.csv", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    expected_rows = choose("herding+swaps", 5)
    assert [row["row"] for row in printed["rows"]] == expected_rows
    assert [row["id"] for row in printed["rows"]] == [IDS[row] for row in expected_rows]
    assert (printed["of"], printed["shortfall"]) == (60, "")
    with Path("out/chosen.csv").open() as table:
        written = list(csv.DictReader(table))
    assert [row["id"] for row in written] == [IDS[row] for row in expected_rows]
    assert [row["rank"] for row in written] == ["1", "2", "3", "4", "5"]


def test_select__rows_of_an_array(tmp_path: Path, capsys):
    np.save(tmp_path / "vectors.npy", VECTORS.astype(np.float16))
    options = ["--strategy", "fps", "--budget", "70"]
    assert main(["select", str(tmp_path / "vectors.npy"), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 62
    assert lines[0].split()[:3] == ["1", "row", str(choose("fps", 1)[0])]
    assert lines[-1] == "70 were asked for and 60 chosen: the file has 60 rows"


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("missing.npy", [], "there is no file"),
        ("text.txt", [], ".parquet"),
        ("text.npy", [], "holds no embeddings"),
        ("other.npz", [], "holds no embeddings"),
        ("nan.npy", [], "nan.npy: row 2"),
        ("few.npz", [], "ids"),
        ("cut.npz", [], "holds no embeddings"),
        ("renamed.npz", [], "holds no embeddings"),
        ("cut.parquet", [], "holds no embeddings"),
        ("good.npy", ["--round", "2"], "round"),
        ("good.npy", ["--all-windows"], "all_windows"),
        ("good.npy", ["--budget", "0"], "budget"),
    ],
)
def test_select__refuses_what_is_no_table(
    name: str, options: list[str], word: str, tmp_path: Path, capsys
):
    for file in ("text.txt", "text.npy"):
        (tmp_path / file).write_text("no numbers")
    np.savez(tmp_path / "other.npz", numbers=VECTORS)
    np.savez(tmp_path / "few.npz", embeddings=VECTORS, image_ids=np.array(IDS[:3]))
    for ending in (".npz", ".parquet"):
        whole = save_embeddings(VECTORS, IDS, tmp_path / f"whole{ending}").read_bytes()
        (tmp_path / f"cut{ending}").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "array.npy", VECTORS)
    (tmp_path / "array.npy").rename(tmp_path / "renamed.npz")
    broken = VECTORS.copy()
    broken[2, 1] = np.nan
    np.save(tmp_path / "nan.npy", broken)
    np.save(tmp_path / "good.npy", VECTORS)
    assert main(["select", name, *options]) == 1
    printed = capsys.readouterr()
    assert word in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("option", [["--json"], ["--to", "a.csv"]])
def test_select__options_of_files_are_not_for_rounds(option: list[str], capsys):
    assert main(["select", *option]) == 1
    assert option[0] in capsys.readouterr().err
