"""Copies of stored tables that are mapped into memory."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.mapped import MappedParts
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import open_store

DAY_S = 86_400
SCHEMA = pa.schema([("tile_id", pa.string()), ("cls", pa.list_(pa.float16(), 3))])


def make_batch(count: int, *, seed: int = 0) -> pa.RecordBatch:
    numbers = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float16)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 3)
    return pa.record_batch([pa.array([f"t{n}" for n in range(count)]), vectors], schema=SCHEMA)


@pytest.fixture
def table(tmp_path: Path) -> CommittedTable:
    store = open_store(StorageSettings(url="store", root=tmp_path))
    for name, count in (("a", 5), ("b", 0), ("c", 7)):
        batch = make_batch(count, seed=count)
        output = OutputId("embeddings", name, "space1")
        commit(store, Draft(Recipe(output, "1"), lambda out, batch=batch: out.rows(batch), SCHEMA))
    stored = open_table(store, "embeddings", space="space1")
    return replace(stored, copies=MappedParts(tmp_path / "copies"))


def read_all(table: CommittedTable, columns: list[str] | None = None) -> pa.Table:
    return pa.concat_tables(part for _, part in table.parts(columns))


def list_copies(table: CommittedTable) -> list[Path]:
    assert table.copies is not None
    return sorted(table.copies.folder.glob("*.arrow"))


def find_vectors(copy: bytearray) -> int:
    """Find the first byte of a copy's vectors that is not 0, or of an empty copy its last byte."""
    table = pa.ipc.open_stream(bytes(copy)).read_all()
    vectors = table["cls"].combine_chunks().flatten().to_numpy().tobytes()
    if not vectors:
        return len(copy) - 1
    first = next(place for place, byte in enumerate(vectors) if byte)
    return copy.index(vectors) + first


def no_store(table: CommittedTable) -> CommittedTable:
    """The same table, without the stored parts."""
    for part in (part for manifest in table.manifests for part in manifest.parts):
        (Path(table.store.folder) / part.key).unlink()
    return table


def test_parts__are_read_from_the_store_once(table):
    stored = read_all(replace(table, copies=None))
    first = read_all(table)
    assert first["cls"].type == pa.list_(pa.float32(), 3)
    assert first["tile_id"] == stored["tile_id"]
    assert first["cls"].to_pylist() == stored["cls"].to_pylist()
    again = read_all(no_store(table))
    assert again.equals(first)
    assert table.read("c").num_rows == 7


def test_parts__of_other_columns_are_other_copies(table):
    assert read_all(table, ["tile_id"]).column_names == ["tile_id"]
    assert read_all(table, ["cls"]).column_names == ["cls"]
    assert read_all(table).column_names == ["tile_id", "cls"]


def test_copies__vectors_lie_in_the_file_and_not_in_memory(table):
    before = pa.total_allocated_bytes()
    read_all(table)
    opened = [part for _, part in table.parts()]
    vectors = [part["cls"].chunk(0).flatten() for part in opened if part.num_rows]
    assert all(each.to_numpy().base is not None for each in vectors)
    assert pa.total_allocated_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped"])
def test_copies__damaged_ones_are_made_again(table, damage: str):
    whole = read_all(table)
    for path in list_copies(table):
        data = bytearray(path.read_bytes())
        match damage:
            case "cut":
                data = data[: len(data) // 2]
            case "emptied":
                data.clear()
            case _:
                data[find_vectors(data)] ^= 1
        path.unlink()  # what was opened before stays as it is
        path.write_bytes(data)
        yesterday_s = time.time() - 2 * DAY_S
        os.utime(path, (yesterday_s, yesterday_s))
    assert read_all(table).equals(whole)
    assert read_all(no_store(table)).equals(whole)


def test_copies__are_compared_with_their_check_sum_once_a_day(table):
    read_all(table)
    for path in list_copies(table):
        yesterday_s = time.time() - 2 * DAY_S
        os.utime(path, (yesterday_s, yesterday_s))
    read_all(table)
    assert all(path.stat().st_mtime > time.time() - DAY_S for path in list_copies(table))


def test_copies__unread_ones_are_deleted(table):
    read_all(table, ["tile_id"])
    old = list_copies(table)
    for path in table.copies.folder.iterdir():
        long_ago_s = time.time() - 31 * DAY_S
        os.utime(path, (long_ago_s, long_ago_s))
    read_all(table, ["cls"])
    assert list_copies(table)
    assert not set(old) & set(list_copies(table))


def test_copies__a_folder_that_cannot_be_written_is_no_error(table, tmp_path):
    (tmp_path / "file").touch()
    unwritable = replace(table, copies=MappedParts(tmp_path / "file" / "copies"))
    assert read_all(unwritable).equals(read_all(table))


def test_copies__older_than_the_start_of_the_machine_are_checked(table, monkeypatch):
    """A machine that lost its power may have left pages of zeros in a new file."""
    whole = read_all(table)
    for path in list_copies(table):
        data = bytearray(path.read_bytes())
        data[find_vectors(data)] = 0
        path.unlink()  # what was opened before stays as it is
        path.write_bytes(data)
        os.utime(path, (time.time() - 60, time.time() - 60))
    assert not read_all(table).equals(whole)
    monkeypatch.setattr(time, "monotonic", lambda: 30.0)
    assert read_all(table).equals(whole)


def test_copies__of_another_part_are_made_again(table):
    whole = read_all(table)
    first, *others = list_copies(table)
    for path in others:
        path.unlink()
        path.write_bytes(first.read_bytes())
    assert read_all(table).equals(whole)


def test_copies__sound_ones_in_a_folder_that_cannot_be_written_are_read(table, monkeypatch):
    whole = read_all(table)
    for path in list_copies(table):
        os.utime(path, (time.time() - 2 * DAY_S, time.time() - 2 * DAY_S))

    def refuse(_: Path) -> None:
        raise PermissionError("read-only")

    stored = no_store(table)
    monkeypatch.setattr(Path, "touch", refuse)
    assert read_all(stored).equals(whole)
