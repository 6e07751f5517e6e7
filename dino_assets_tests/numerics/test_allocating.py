"""Rows in memory, and in a temporary file if there are many."""

import errno
import os
import tempfile

import numpy as np

from dino_assets.numerics.allocating import allocate_rows


def test_allocate_rows__small_ones_are_in_memory():
    rows = allocate_rows(10, 4)
    assert rows.shape == (10, 4)
    assert rows.dtype == np.float32
    assert rows.base is None


def test_allocate_rows__large_ones_are_in_a_file_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    rows = allocate_rows(1000, 4, in_memory_bytes=100)
    assert isinstance(rows.base, np.memmap)
    rows[:] = 3
    assert rows.sum() == 12_000
    assert not list(tmp_path.iterdir())


def test_allocate_rows__none():
    assert allocate_rows(0, 4, in_memory_bytes=-1).shape == (0, 4)


def test_allocate_rows__without_room_for_a_file_they_are_in_memory(monkeypatch, caplog):
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    rows = allocate_rows(1000, 4, in_memory_bytes=100)
    assert rows.base is None
    assert rows.shape == (1000, 4)
    assert "No space left" in caplog.text


def test_allocate_rows__the_room_of_a_file_is_taken_at_once(monkeypatch):
    taken = []
    reserve = os.posix_fallocate
    monkeypatch.setattr(
        os, "posix_fallocate", lambda *where: taken.append(where[1:]) or reserve(*where)
    )
    allocate_rows(1000, 4, in_memory_bytes=100)
    assert taken == [(0, 16_000)]
