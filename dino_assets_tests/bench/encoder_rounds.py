"""The child process of one case: every peer built on one CPU, then measured in turn, round after round."""

import gc
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dino_assets.compute.settings import ComputeSettings
from dino_assets.embeddings.encoder.choosing import build_engine, list_engines
from dino_assets.embeddings.encoder.engine import NetworkSource
from dino_assets.embeddings.encoder.openvino_engine import import_openvino
from dino_assets.weights.records import Checkpoint
from dino_assets_tests.bench.encoder_gemm import build_own_products, build_products
from dino_assets_tests.bench.encoder_peers import (
    AutoModelPeer,
    EncoderPeer,
    OnnxOpenVinoPeer,
    Peer,
    PipelinePeer,
)
from dino_assets_tests.bench.encoder_workload import (
    CASES,
    OWN,
    Case,
    Timer,
    all_windows,
    choose_windows,
    count_flops,
    find_or_draw_photographs,
    find_or_write_checkpoint,
    read_arguments,
)
from dino_assets_tests.bench.onnx_peer import OnnxEncoder, write_onnx

ROUNDS = 5
REFERENCE = "transformers AutoModel fp32"
OURS = "openvino bf16, cls"
OURS_MEAN = "openvino bf16, cls+mean"
FALLBACK = "torch bf16, cls"
Builder = Callable[[], Peer]


def name_builders(
    case: Case, checkpoint: Checkpoint, weights: Path, work: Path
) -> tuple[dict[str, Builder], dict[str, Path]]:
    """How each peer is built, and what it keeps for the next time."""
    import_openvino()
    cls = NetworkSource(weights, checkpoint, case.side_px)
    mean = NetworkSource(weights, checkpoint, case.side_px, ("cls", "mean"))

    def choose(engine: str, precision: str) -> Any:
        settings = ComputeSettings("cpu", 1, precision, engine)  # type: ignore[arg-type]
        return next(list_engines(settings, checkpoint, side_px=case.side_px))

    auto, exact = choose("auto", "half"), choose("openvino", "fp32")
    fallback = choose("torch", "half")
    exact_torch = choose("torch", "fp32")
    batch = max(case.pipeline_batches)
    onnx = work / "onnx-for-openvino" / "network.onnx"

    def through_onnx() -> Peer:
        if not onnx.is_file():
            onnx.parent.mkdir(parents=True, exist_ok=True)
            write_onnx(cls, onnx, batch=auto.batch)
        return OnnxOpenVinoPeer(cls, onnx, batch=auto.batch)

    builders: dict[str, Builder] = {
        f"transformers pipeline, {b} a call": lambda b=b: PipelinePeer(weights, batch=b)
        for b in case.pipeline_batches
    }
    builders |= {
        REFERENCE: lambda: AutoModelPeer(weights, batch=batch, numerics="fp32"),
        "transformers AutoModel bf16": lambda: AutoModelPeer(weights, batch=batch, numerics="bf16"),
        "onnxruntime fp32, cls": lambda: EncoderPeer(
            OnnxEncoder(cls, exact_torch, cache_folder=work / "onnx")
        ),
        "openvino bf16 by way of ONNX, cls": through_onnx,
        "openvino fp32, cls": lambda: EncoderPeer(
            build_engine(cls, exact, cache_folder=work / "fp32")
        ),
        FALLBACK: lambda: EncoderPeer(build_engine(cls, fallback, cache_folder=None)),
        OURS: lambda: EncoderPeer(build_engine(cls, auto, cache_folder=work / "cls")),
        OURS_MEAN: lambda: EncoderPeer(build_engine(mean, auto, cache_folder=work / "mean")),
    }
    folders = {
        "onnxruntime fp32, cls": work / "onnx",
        "openvino bf16 by way of ONNX, cls": onnx.parent,
        "openvino fp32, cls": work / "fp32",
        OURS: work / "cls",
        OURS_MEAN: work / "mean",
    }
    return builders, folders


def start(build: Builder, kept: Path | None, case: Case) -> tuple[Peer, dict[str, float]]:
    """A peer that is built, and wall seconds until its first vector; again, where it keeps something."""
    blank = np.zeros((1, case.side_px, case.side_px, 3), np.uint8)
    windows = np.array([[0, 0, case.side_px, case.side_px]])
    seconds: dict[str, float] = {}
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    for name in ("cold_s", "cached_s") if kept is not None else ("cold_s",):
        peer = None
        gc.collect()
        with Timer() as timer:
            peer = build()
            if isinstance(peer, OnnxOpenVinoPeer | EncoderPeer):
                tiles = peer.cut(blank[0], windows)
                batch = peer.batch
                peer.embed(np.repeat(tiles, batch, axis=0))
            else:
                from PIL import Image

                peer.embed([Image.fromarray(blank[0])])
        seconds[name] = round(timer.spent.wall_s, 2)
    return peer, seconds


def measure_round(peer: Peer, path: Path, windows: np.ndarray, *, per_photograph: int) -> dict:
    """One peer's seconds per tile, from the file on; a photograph's decoding is shared by all its tiles."""
    with Timer() as decoding:
        picture = peer.decode(path)
    with Timer() as embedding:
        tiles = peer.cut(picture, windows)
        vectors = peer.embed(tiles)
    extra = getattr(peer, "extra", None)
    seconds = {}
    for kind in ("cpu_s", "wall_s"):
        embedding_s = getattr(embedding.spent, kind) - (getattr(extra, kind) if extra else 0)
        seconds[kind] = embedding_s / len(windows) + getattr(decoding.spent, kind) / per_photograph
    if peer.model is not None:
        seconds["model_cpu_s"] = peer.model.cpu_s / len(windows)
    return {"seconds": seconds, "cls": vectors.astype(np.float64), "decode_s": decoding.spent.cpu_s}


def lowest_cosines(found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """As they are, and after the mean vector is taken off."""

    def lowest(a: np.ndarray, b: np.ndarray) -> float:
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return float(((a * b).sum(axis=1) / np.maximum(lengths, 1e-30)).min())

    middles = found.mean(axis=0), wanted.mean(axis=0)
    return {
        "cosine": lowest(found, wanted),
        "centred": lowest(found - middles[0], wanted - middles[1]),
    }


def measure_case(case: Case, folder: Path, weights: Path) -> dict:
    """All peers of a case."""
    checkpoint = find_or_write_checkpoint(weights, case)
    photographs = find_or_draw_photographs(folder)
    builders, folders = name_builders(case, checkpoint, weights, folder / "kept")
    peers, starts = {}, {}
    for name, build in builders.items():
        peers[name], starts[name] = start(build, folders.get(name), case)
    ours = peers[OURS]
    products = build_products(case, checkpoint, batch=ours.batch)
    own_products = build_own_products(case, checkpoint, batch=ours.batch)
    rounds: list[dict[str, dict]] = []
    rates: list[dict[str, float]] = []
    per_photograph = len(all_windows(case.side_px))
    for number in range(ROUNDS):
        path = photographs[number % len(photographs)]
        windows = choose_windows(case.side_px, case.tiles, number=number)
        pixels = [
            np.stack([np.asarray(t) for t in p.cut(p.decode(path), windows)])
            for p in (peers[REFERENCE], ours)
        ]
        assert (pixels[0] == pixels[1]).all(), "the peers are not given the same pixels"
        rates.append({each: product.measure() for each, product in products.items()})
        rates[-1][OWN] = own_products.measure()
        rounds.append(
            {
                name: measure_round(peer, path, windows, per_photograph=per_photograph)
                for name, peer in peers.items()
            }
        )
    return summarise(case, checkpoint, rounds, rates, starts) | {
        "photographs": "flight" if photographs[0].parent.name == "flight" else "drawn",
        "engines": {n: str(p.encoder.spec) for n, p in peers.items() if isinstance(p, EncoderPeer)},
    }


def summarise(case: Case, checkpoint: Checkpoint, rounds: list, rates: list, starts: dict) -> dict:
    """Medians over the rounds; ratios and shares are taken within a round, then their median."""
    middle = statistics.median
    names = list(rounds[0])

    def seconds(name: str, kind: str) -> list[float]:
        return [each[name]["seconds"][kind] for each in rounds]

    pipelines = [name for name in names if "pipeline" in name]
    best = min(pipelines, key=lambda name: middle(seconds(name, "cpu_s")))
    # The rate of a round is its best single product's, whoever computed it.
    single_names = [name for name in rates[0] if name != OWN]
    limits = {
        "gemm": [max(each[name] for name in single_names) * 1e9 for each in rates],
        "own": [each[OWN] * 1e9 for each in rates],
    }
    cls = {name: np.concatenate([each[name]["cls"] for each in rounds]) for name in names}
    rows = {}
    for name in names:
        row: dict[str, Any] = {
            "cpu_ms": middle(seconds(name, "cpu_s")) * 1e3,
            "wall_ms": middle(seconds(name, "wall_s")) * 1e3,
        }
        for kind in ("cpu", "wall"):
            pairs = zip(seconds(best, f"{kind}_s"), seconds(name, f"{kind}_s"), strict=True)
            row[f"{kind}_ratio"] = middle(best_s / own_s for best_s, own_s in pairs)
        if "model_cpu_s" in rounds[0][name]["seconds"]:
            model = seconds(name, "model_cpu_s")
            flops = count_flops(checkpoint, case.side_px, is_cls_alone=name.endswith(", cls"))
            row["model_cpu_ms"] = middle(model) * 1e3
            for kind, limit in limits.items():
                pairs = zip(model, limit, strict=True)
                row[f"{kind}_share"] = middle(flops / cpu_s / rate for cpu_s, rate in pairs)
            row["computed_gflop"] = flops / 1e9
        row |= lowest_cosines(cls[name], cls[best]) | starts[name]
        row["decode_ms"] = middle(each[name]["decode_s"] for each in rounds) * 1e3
        rows[name] = row
    return {
        "case": case.name,
        "tiles_per_round": case.tiles,
        "rounds": len(rounds),
        "tiles_per_photograph": len(all_windows(case.side_px)),
        "gflop_per_tile": count_flops(checkpoint, case.side_px, is_cls_alone=False) / 1e9,
        "gflop_per_tile_cls": count_flops(checkpoint, case.side_px, is_cls_alone=True) / 1e9,
        "gemm_gflop_per_s": {name: middle(each[name] for each in rates) for name in rates[0]},
        "gemm_limit_gflop_per_s": middle(limits["gemm"]) / 1e9,
        "baseline": best,
        "peers": rows,
    }


def main() -> None:
    arguments = read_arguments()
    report = measure_case(
        CASES[arguments["case"]], Path(arguments["folder"]), Path(arguments["weights"])
    )
    Path(arguments["file"]).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
