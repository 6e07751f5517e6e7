"""Embedding files and spools: streamed, reproducible, small arrays first."""

import io
import json
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.encoder.tokens import Tokens
from dino_assets.errors import DiskFullError, InvalidVectorsError
from dino_assets.serving.computing.pictures import PictureTokens
from dino_assets.serving.computing.spool import Spool
from dino_assets.serving.keeping.embedding_file import stream_file
from dino_assets.serving.requests.options import EmbedOptions
from dino_assets.serving.requests.planning import plan_upload
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.serving import SMALL

NAMES = ["cls", "mean", "windows", "tile_ids", "embeddings"]


def write(values: np.ndarray, *, piece: int = 100) -> bytes:
    data = values.tobytes()
    small = {"cls": values[:, 0], "tile_ids": np.array(["a", "bc"])}
    pieces = (data[start : start + piece] for start in range(0, len(data), piece))
    file = stream_file(
        small, shape=values.shape, dtype=values.dtype, pieces=pieces, about={"k": "v"}
    )
    return b"".join(file)


def test_stream_file__opens_in_numpy():
    values = np.arange(24, dtype="<f4").reshape(2, 3, 4)
    data = write(values)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        assert arrays.files == ["cls", "tile_ids", "embeddings"]
        np.testing.assert_array_equal(arrays["embeddings"], values)
        np.testing.assert_array_equal(arrays["cls"], values[:, 0])
        assert arrays["tile_ids"].tolist() == ["a", "bc"]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.comment) == {"k": "v"}
        offsets = [entry.header_offset for entry in archive.infolist()]
        assert offsets == sorted(offsets)  # the archive's list has the order of the file
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_stream_file__equal_bytes_for_any_piece_size():
    values = np.arange(24, dtype="<f2").reshape(2, 3, 4)
    assert write(values, piece=7) == write(values, piece=1000)


@pytest.mark.parametrize("memory_bytes", [0, 10**6])
def test_spool__rows_in_any_order(tmp_path: Path, memory_bytes):
    rows = np.arange(40, dtype=np.float32).reshape(5, 8)
    spool = Spool(5, 32, tmp_path / "spool", memory_bytes=memory_bytes)
    for number in (3, 0, 4, 1, 2):
        spool.write(number, rows[number])
    assert b"".join(spool.pieces()) == rows.tobytes()
    spool.close()
    assert list(tmp_path.rglob("*.*")) == []  # the file has no name


def test_spool__file_system_without_unnamed_files(tmp_path: Path):
    """The file's name is deleted before a byte is written."""
    spool = Spool(2, 3, tmp_path, memory_bytes=0, nameless=0)
    assert list(tmp_path.iterdir()) == []
    spool.write(1, np.frombuffer(b"def", np.uint8))
    spool.write(0, np.frombuffer(b"abc", np.uint8))
    assert b"".join(spool.pieces()) == b"abcdef"
    spool.close()
    with pytest.raises(ValueError, match="the row has 2 bytes; 3 are expected"):
        Spool(1, 3, tmp_path).write(0, np.zeros(2, np.uint8))


def test_spool__disk_full(small_disk: Path):
    spool = Spool(3, 2**20, small_disk, memory_bytes=0)
    with raising(DiskFullError, needed_bytes=3 * 2**20):
        for number in range(3):
            spool.write(number, np.ones(2**20, np.uint8))
    spool.close()


def picture(tmp_path: Path, **options: str) -> PictureTokens:
    plan = plan_upload(photo_bytes(40, 16, kind="PNG"), EmbedOptions(**options), SMALL)  # type: ignore[arg-type]
    return PictureTokens(plan, tmp_path)


def tokens_of(value: float) -> Tokens:
    vector = np.full((1, 3), value, np.float32)
    return Tokens(cls=vector, mean=vector, patches=np.stack([vector] * 4, axis=1))


@pytest.mark.parametrize(("value", "dtype"), [(1e6, "fp16"), (np.nan, "fp16"), (np.inf, "fp32")])
def test_picture_tokens__refuses_nan_and_infinity(tmp_path, value, dtype):
    picture_tokens = picture(tmp_path, dtype=dtype)
    picture_tokens.keep(0, tokens_of(0.5))
    with raising(InvalidVectorsError, row=1) as caught:
        picture_tokens.keep(1, tokens_of(value))
    assert ("dtype=fp32" in str(caught.value)) == (value == 1e6)


def test_picture_tokens__wide_numbers_fit_fp32(tmp_path):
    picture_tokens = picture(tmp_path, dtype="fp32", tokens="mean")
    for number in range(picture_tokens.plan.tiles):
        picture_tokens.keep(number, tokens_of(1e6))
    with np.load(io.BytesIO(b"".join(picture_tokens.stream(SMALL, "s")))) as arrays:
        assert arrays.files == NAMES
        assert arrays["embeddings"].shape == (picture_tokens.plan.tiles, 3)
        assert (arrays["embeddings"] == 1e6).all()


def test_stream_file__memory_does_not_grow_with_the_file():
    """Of 256 MiB only a few pieces are in memory."""
    piece, count = b"\0" * 2**20, 256
    tracemalloc.start()
    try:
        file_pieces = stream_file(
            {},
            shape=(count, 2**20),
            dtype=np.dtype("u1"),
            pieces=(piece for _ in range(count)),
            about={},
        )
        total = sum(map(len, file_pieces))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > count * 2**20
    assert peak < 8 * 2**20
