"""The child processes that measure a start, memory, and two cores; what to do is the first argument."""

import json
import os
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np

from dino_assets.compute.settings import ComputeSettings
from dino_assets.compute.threads import map_ahead
from dino_assets.embeddings.encoder.choosing import build_engine, list_engines
from dino_assets.embeddings.encoder.engine import Encoder, NetworkSource
from dino_assets.images.decoding import decode_image
from dino_assets.tiles.grid import cut_tiles, cut_windows, make_grid
from dino_assets_tests.bench.encoder_workload import (
    CASES,
    Timer,
    busy_cpu_s,
    choose_windows,
    find_or_draw_photographs,
    find_or_write_checkpoint,
    read_arguments,
)

CHUNK_TILES = 8  # of one photograph, decoded once
CORE_TILES = 8  # of each measurement of two cores
CORE_ROUNDS = 3
CARD_TILES = 4096


def peak_mb() -> float:
    """Of this process; ``ru_maxrss`` would have what the one that started it holds, if that is more."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def start_one(folder: Path, given: dict) -> dict:
    """A process's seconds from its first line to the first vector, and what memory that takes."""
    start_s = time.perf_counter()
    case = CASES[given["case"]]
    weights = Path(given["weights"])
    windows = choose_windows(case.side_px, 1, number=0)
    path = find_or_draw_photographs(folder)[0]
    from dino_assets_tests.bench.encoder_peers import EncoderPeer, PipelinePeer

    if given["peer"] == "pipeline":
        peer = PipelinePeer(weights, batch=max(case.pipeline_batches))
    else:
        checkpoint = find_or_write_checkpoint(weights, case)
        settings = ComputeSettings("cpu", 1, "half", given["peer"])
        spec = next(list_engines(settings, checkpoint, side_px=case.side_px))
        source = NetworkSource(weights, checkpoint, case.side_px)
        peer = EncoderPeer(build_engine(source, spec, cache_folder=folder / "kept" / "cls"))
    vectors = peer.embed(peer.cut(peer.decode(path), windows))
    assert np.isfinite(vectors).all()
    return {"start_s": round(time.perf_counter() - start_s, 2), "peak_mb": round(peak_mb())}


def read_tiles(photographs: list[Path], side_px: int, tiles: int) -> Iterator[np.ndarray]:
    """``tiles`` tiles in chunks; each photograph is decoded once and let go."""
    remaining = tiles
    for path in cycle(photographs):
        pixels = decode_image(path.read_bytes())
        height, width, _ = pixels.shape
        windows = cut_windows(width, height, make_grid(side_px))[:remaining]
        for first in range(0, len(windows), CHUNK_TILES):
            piece = windows[first : first + CHUNK_TILES]
            yield cut_tiles(pixels, piece, side_px, span_px=side_px)
        del pixels  # before the next one is decoded
        remaining -= len(windows)
        if not remaining:
            return


def embed_ahead(encoder: Encoder, chunks: Iterator[np.ndarray], *, threads: int) -> np.ndarray:
    """As the stage does it: several threads call one encoder, ahead of whoever writes."""
    results = map_ahead(lambda tiles: encoder.encode(tiles)["cls"], chunks, threads=threads)
    return np.concatenate(list(results))


def embed_many(folder: Path, given: dict) -> dict:
    """Peak memory of a run of ``tiles`` tiles with a small model."""
    from dino_assets.demo.checkpoint import find_or_write_demo_checkpoint
    from dino_assets.weights.checkpoint import read_checkpoint

    weights = folder / "demo"
    find_or_write_demo_checkpoint(weights)
    checkpoint = read_checkpoint(weights, model="demo")
    side = checkpoint.tile_px
    settings = ComputeSettings("cpu", 2, "half")
    spec = next(list_engines(settings, checkpoint, side_px=side))
    source = NetworkSource(weights, checkpoint, side)
    encoder = build_engine(source, spec, cache_folder=folder / "demo-network")
    chunks = read_tiles(find_or_draw_photographs(folder), side, given["tiles"])
    with Timer() as timer:
        vectors = embed_ahead(encoder, chunks, threads=2)
    assert vectors.shape == (given["tiles"], checkpoint.dim)
    rate = given["tiles"] / timer.spent.wall_s
    return {"peak_mb": round(peak_mb(), 1), "tiles_per_s": round(rate), "engine": str(spec)}


def compare_cores(folder: Path, given: dict) -> dict:
    """Wall seconds with one thread on one CPU and with two on two, in turn, from the file on."""
    case = CASES[given["case"]]
    weights = Path(given["weights"])
    checkpoint = find_or_write_checkpoint(weights, case)
    photographs = find_or_draw_photographs(folder)
    cpus = sorted(os.sched_getaffinity(0))
    encoders = {}
    for threads in (1, 2):
        settings = ComputeSettings("cpu", threads, "half", given.get("engine", "auto"))
        spec = next(list_engines(settings, checkpoint, side_px=case.side_px))
        source = NetworkSource(weights, checkpoint, case.side_px)
        cache = folder / f"start-{given['case']}"
        encoders[threads] = build_engine(source, spec, cache_folder=cache)
    batch = encoders[1].spec.batch
    tiles = -(-CORE_TILES // batch) * batch * (1 if batch == 1 else 8)

    def chunks(path: Path) -> Iterator[np.ndarray]:
        pixels = decode_image(path.read_bytes())
        windows = choose_windows(case.side_px, tiles, number=0)
        for first in range(0, tiles, batch):
            piece = windows[first : first + batch]
            yield cut_tiles(pixels, piece, case.side_px, span_px=case.side_px)

    for threads, encoder in encoders.items():  # every thread makes its request
        embed_ahead(encoder, chunks(photographs[0]), threads=threads)
    ratios, costs, other_loads = [], [], []
    for number in range(CORE_ROUNDS):
        seconds, cpu_s = {}, {}
        for threads, encoder in encoders.items():
            # Threads that live already stay where they are: the pool's are made after this.
            os.sched_setaffinity(0, cpus[:threads])
            busy_s, own_s = busy_cpu_s(), time.process_time()
            with Timer() as timer:
                embed_ahead(
                    encoder, chunks(photographs[number % len(photographs)]), threads=threads
                )
            seconds[threads], cpu_s[threads] = timer.spent.wall_s, timer.spent.cpu_s
            others_s = busy_cpu_s() - busy_s - (time.process_time() - own_s)
            other_loads.append(max(0.0, others_s) / timer.spent.wall_s)
        os.sched_setaffinity(0, cpus)
        ratios.append(seconds[1] / seconds[2])
        costs.append(2 * cpu_s[1] / cpu_s[2])
    return {
        "ratio": float(np.median(ratios)),
        "ratios": [round(each, 3) for each in ratios],
        # What it would be if nobody else ran and both were busy to the end.
        "ratio_by_cpu_s": round(float(np.median(costs)), 3),
        "others_cpus": round(max(other_loads), 2),
        "tiles": tiles,
        "engine": str(encoders[2].spec),
    }


def embed_on_card(folder: Path, given: dict) -> dict:
    """Tiles per second of the device's path: bytes in this machine's memory in, vectors there out."""
    import torch

    case = CASES[given["case"]]
    weights = Path(given["weights"])
    checkpoint = find_or_write_checkpoint(weights, case)
    spec = next(list_engines(ComputeSettings("cuda", 0, "half"), checkpoint, side_px=case.side_px))
    encoder = build_engine(NetworkSource(weights, checkpoint, case.side_px), spec)
    side = case.side_px
    tiles = np.random.default_rng(0).integers(0, 256, (spec.batch, side, side, 3), np.uint8)
    calls = -(-CARD_TILES // spec.batch)
    # Compiles, and gives every thread its stream and its pinned memory.
    embed_ahead(encoder, iter([tiles] * 4 * spec.threads), threads=spec.threads)
    with Timer() as timer:
        vectors = embed_ahead(encoder, iter([tiles] * calls), threads=spec.threads)
    assert np.isfinite(vectors).all()
    return {
        "name": torch.cuda.get_device_name(),
        "engine": str(spec),
        "tiles_per_s": round(len(vectors) / timer.spent.wall_s),
        "peak_device_mb": round(torch.cuda.max_memory_allocated() / 1e6),
    }


JOBS = {"device": embed_on_card, "start": start_one, "many": embed_many, "cores": compare_cores}


def main() -> None:
    arguments = read_arguments()
    result = JOBS[arguments["job"]](Path(arguments["folder"]), arguments)
    Path(arguments["file"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
