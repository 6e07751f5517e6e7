"""Pictures in, vectors out: equal to transformers' own model, in order, a few at a time."""

import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.embeddings.encoder.engine import Encoder, EngineSpec
from dino_assets.embeddings.run.embed_images import embed_images, embed_prepared
from dino_assets.embeddings.run.pictures import Prepared, read_picture, to_square
from dino_assets.errors import InvalidVectorsError, UnusableImageError
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.networks import FAMILIES, Sample, compute_expected, write_sample

SIDE = 112  # a multiple of both patches


def encoder_of(sample: Sample, *, batch: int = 2, threads: int = 2) -> Encoder:
    spec = EngineSpec("torch", "cpu", "fp32", batch, threads)
    return build_engine(sample.at(SIDE, ("cls", "mean")), spec)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return encoder_of(write_sample(tmp_path_factory.mktemp("network"), "dinov2"))


def scale_with_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        return np.asarray(upright.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def turned_photo(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return photo_bytes(90, 60, seed=orientation, exif=exif)


@pytest.mark.parametrize("family", FAMILIES)
def test_embed_images__equals_transformers(tmp_path, family):
    sample = write_sample(tmp_path / "network", family)
    files = []
    for number, (width, height) in enumerate([(300, 200), (112, 112), (40, 90), (1300, 900)]):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(photo_bytes(width, height, seed=number))
    files.append(tmp_path / "turned.jpg")
    files[-1].write_bytes(turned_photo(6))
    expected = compute_expected(sample, np.stack([scale_with_pillow(file) for file in files]))
    encoder = encoder_of(sample)
    results = list(embed_images(files, encoder))
    np.testing.assert_allclose(
        [result.vector for result in results], expected.cls, rtol=0, atol=1e-5
    )
    means = list(embed_images(files, encoder, column="mean"))
    np.testing.assert_allclose(
        [result.vector for result in means], expected.mean, rtol=0, atol=1e-5
    )


def test_embed_images__equal_for_file_bytes_and_pixels(tmp_path, encoder):
    file = tmp_path / "a.png"
    file.write_bytes(photo_bytes(150, 130, kind="PNG"))
    with Image.open(file) as image:
        pixels = np.asarray(image)
    results = list(embed_images([file, file.read_bytes(), pixels], encoder))
    assert np.array_equal(results[0].vector, results[1].vector)
    assert np.array_equal(results[0].vector, results[2].vector)


def test_embed_images__a_picture_of_the_exact_side_is_not_resized(encoder):
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    (result,) = embed_images([pixels], encoder)
    assert np.array_equal(result.vector, encoder.encode(pixels[None]).cls[0])
    assert to_square(pixels, SIDE) is pixels


def test_embed_images__unusable_pictures_keep_their_places(tmp_path, encoder):
    photo = photo_bytes(80, 60)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    pictures = [
        photo, b"", tmp_path / "absent.jpg", photo[:900], tmp_path / "pipe.jpg", photo,
        tmp_path / "folder.jpg", b"no picture", np.zeros((4, 4), np.uint8), tmp_path / "a\0b.jpg",
        np.zeros((0, 4, 3), np.uint8), photo,
    ]  # fmt: skip
    results = list(embed_images(pictures, encoder))
    reasons = [result.refusal.reason if result.refusal else None for result in results]
    assert reasons == [
        None, "empty", "missing", "truncated", "special-file", None,
        "special-file", "not-an-image", "unsupported-mode", "missing", "empty", None,
    ]  # fmt: skip
    assert [result.vector is None for result in results] == [
        reason is not None for reason in reasons
    ]
    vectors = [result.vector for result in results if result.vector is not None]
    assert all(np.array_equal(vector, vectors[0]) for vector in vectors)


def test_embed_images__no_pictures(encoder):
    assert list(embed_images([], encoder)) == []


def test_embed_images__memory_does_not_grow_with_their_number(encoder):
    def draw(count: int) -> Iterator[np.ndarray]:
        for _ in range(count):
            yield np.zeros((SIDE, SIDE, 3), np.uint8)

    peaks = []
    for count in (10, 300):
        tracemalloc.start()
        for result in embed_images(draw(count), encoder):
            assert result.vector is not None
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 60 * SIDE * SIDE * 3


def test_read_picture__memory_of_the_file_alone(tmp_path):
    (tmp_path / "a.jpg").write_bytes(bytes(100_000))
    tracemalloc.start()
    read_picture(tmp_path / "a.jpg")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000


def prepare(number: int) -> Prepared:
    """Odd ones need no model."""
    if number % 2:
        return Prepared(vector=np.full(3, number, np.float32))
    return Prepared(tile=np.full((2, 2, 3), number, np.uint8))


def first_pixels(tiles: np.ndarray) -> np.ndarray:
    return np.repeat(tiles[:, :1, 0, 0], 3, axis=1).astype(np.float32)


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("batch", [1, 4, 7])
def test_embed_prepared__order_and_batches(threads, batch):
    sizes = []

    def encode(tiles: np.ndarray) -> np.ndarray:
        sizes.append(len(tiles))
        return first_pixels(tiles)

    results = list(embed_prepared(range(50), prepare, encode, batch=batch, threads=threads))
    assert [result.vector.tolist() for result in results] == [[n, n, n] for n in range(50)]
    assert sorted(sizes, reverse=True) == [batch] * (25 // batch) + [25 % batch] * (25 % batch > 0)


def test_embed_prepared__with_0_threads_in_the_callers_thread():
    threads = set()

    def encode(tiles: np.ndarray) -> np.ndarray:
        threads.add(threading.current_thread())
        return first_pixels(tiles)

    list(embed_prepared(range(20), prepare, encode, batch=3, threads=0))
    assert threads == {threading.current_thread()}


def test_embed_prepared__cached_vectors_do_not_wait_for_a_full_batch():
    numbers = []

    def coming() -> Iterator[int]:
        for number in range(10_000):
            numbers.append(number)
            yield number

    def prepare_none(number: int) -> Prepared:
        return Prepared(vector=np.zeros(1, np.float32))

    results = embed_prepared(coming(), prepare_none, first_pixels, batch=8, threads=1)
    next(results)
    results.close()
    assert len(numbers) < 1200


@pytest.mark.parametrize("spoil", [lambda v: v[:-1], lambda v: v * np.nan, lambda v: v + np.inf])
def test_embed_prepared__refuses_invalid_vectors(spoil: Callable):
    with pytest.raises(InvalidVectorsError):
        list(
            embed_prepared(
                [2, 4], prepare, lambda tiles: spoil(first_pixels(tiles)), batch=2, threads=1
            )
        )


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    ("width", "height"), [(1300, 900), (3000, 500), (1025, 1024), (40, 30), (SIDE, 90), (300, SIDE)]
)
def test_to_square__equals_pillow(width, height):
    pixels = noise(width, height)
    assert np.array_equal(to_square(pixels, SIDE), resize(pixels, SIDE, SIDE))
    mirrored = pixels[::-1, ::-1]  # no array in one piece
    assert np.array_equal(to_square(mirrored, SIDE), resize(mirrored, SIDE, SIDE))


@pytest.mark.parametrize(("width", "height"), [(500, 3000), (30, 900), (SIDE, 20_000)])
def test_to_square__resizes_tall_pictures_in_the_same_order(width, height):
    pixels = noise(width, height)
    square = to_square(pixels, SIDE)
    widths_first = resize(resize(pixels, SIDE, height), SIDE, SIDE)
    assert np.array_equal(square, widths_first)
    # Pillow 13 scales these heights first.
    assert abs(square.astype(int) - resize(pixels, SIDE, SIDE)).max() <= 1


def test_read_picture__refuses_a_large_file(tmp_path):
    (tmp_path / "a.jpg").write_bytes(bytes(11))
    assert read_picture(tmp_path / "a.jpg", max_bytes=11) == bytes(11)
    with pytest.raises(UnusableImageError) as caught:
        read_picture(tmp_path / "a.jpg", max_bytes=10)
    assert caught.value.reason == "too-large"
