"""Reading photographs against plain Pillow, in the same run on the same files."""

import hashlib
import io
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_assets.drawing.photographs import draw_photo
from dino_assets.images.decoding import decode_image
from dino_assets.images.inspection import inspect_image
from dino_assets.images.scores import find_near_duplicates, score_pixels

pytestmark = pytest.mark.bench
ROUNDS = 7
PROCESSES, DECODES = 3, 12
FILES, THREADS = 8, 2
FASTER_ALONE = 2.5  # the promise; 2.54 to 2.76 in twelve runs
# Not promised; as the stage does it, ahead in two threads and with all scores: 1.9 to 2.7.
FASTER_AHEAD = 1.8


def read_with_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(image)


def seconds(call: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    call()
    return time.perf_counter() - start_s


READERS: dict[str, Callable[[bytes], np.ndarray]] = {
    "pillow": read_with_pillow,
    "ours": decode_image,
}


def time_decoding(reader: str, paths: list[str]) -> float:
    """Median CPU seconds of one decode: what a process of its own does, when it does nothing else."""
    files = [Path(path).read_bytes() for path in paths]
    cpu_s = []
    for number in range(DECODES):
        start_s = time.process_time()
        READERS[reader](files[number % len(files)])
        cpu_s.append(time.process_time() - start_s)
    return statistics.median(cpu_s)


def test_decode_image__against_pillow(tmp_path):
    # Each in processes of its own, in turn: in one process the two share what the allocator keeps,
    # and the figure says which came first.
    paths = []
    for seed in range(4):
        paths.append(str(tmp_path / f"{seed}.jpg"))
        Path(paths[-1]).write_bytes(draw_photo(seed))
    data = Path(paths[0]).read_bytes()
    assert (decode_image(data) == read_with_pillow(data)).all()
    rounds: dict[str, list[float]] = {reader: [] for reader in READERS}
    for _ in range(PROCESSES):
        for reader, cpu_s in rounds.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                cpu_s.append(process.submit(time_decoding, reader, paths).result())
    figures = {f"{reader}_cpu_s": statistics.median(cpu_s) for reader, cpu_s in rounds.items()}
    ratio = figures["pillow_cpu_s"] / figures["ours_cpu_s"]
    rounded_figures = {name: round(each, 4) for name, each in figures.items()}
    print(json.dumps({"decode 20 MP": rounded_figures, "ratio": round(ratio, 2)}))
    assert ratio >= FASTER_ALONE


def look_at(data: bytes) -> None:
    inspect_image(data)
    score_pixels(decode_image(data))


def look_at_plainly(data: bytes) -> None:
    hashlib.sha256(data).hexdigest()
    read_with_pillow(data)


def test_inspect_decode_score__against_a_plain_loop():
    files = [draw_photo(seed) for seed in range(FILES)]
    megabytes = sum(map(len, files)) / 1e6
    peers, ours = [], []
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(3):
            peers.append(seconds(lambda: [look_at_plainly(data) for data in files]))
            ours.append(seconds(lambda: list(pool.map(look_at, files))))
    peer, own = statistics.median(peers), statistics.median(ours)
    for name, time_s in (("plain pillow", peer), (f"hash, decode, score, {THREADS} threads", own)):
        rates = {"files_per_s": round(FILES / time_s, 1), "mb_per_s": round(megabytes / time_s, 1)}
        print(json.dumps({"what": name, **rates}))
    print(json.dumps({"ratio": round(peer / own, 2)}))
    assert peer / own >= FASTER_AHEAD


def test_score_pixels__milliseconds():
    data = draw_photo(0)
    pixels = decode_image(data)
    score_s = statistics.median(seconds(lambda: score_pixels(pixels)) for _ in range(ROUNDS))
    decode_s = statistics.median(seconds(lambda: decode_image(data)) for _ in range(ROUNDS))
    print(json.dumps({"score_ms": round(score_s * 1e3, 1), "decode_ms": round(decode_s * 1e3, 1)}))
    assert score_s < decode_s


def test_find_near_duplicates__20_000_pictures():
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 256, (20_000, 32), dtype=np.uint8)
    same_looks, spread_places = (
        np.repeat(looks[:1], 20_000, axis=0),
        rng.uniform(0, 5000, (20_000, 3)),
    )
    no_places, reach = np.full((20_000, 3), np.nan), np.full(20_000, 5.0)

    def spent(looks: np.ndarray, places: np.ndarray) -> float:
        call = lambda: find_near_duplicates(looks, places_m=places, reach_m=reach)  # noqa: E731
        return seconds(call)

    apart_s, hovering_s, rows_s = (
        spent(looks, spread_places),
        spent(same_looks, no_places),
        spent(same_looks, spread_places),
    )
    seconds_by_case = {"apart": apart_s, "hovering": hovering_s, "all alike, elsewhere": rows_s}
    print(
        json.dumps(
            {"20k looks_s": {name: round(each, 2) for name, each in seconds_by_case.items()}}
        )
    )
    assert hovering_s < rows_s  # who has found one is compared no more
