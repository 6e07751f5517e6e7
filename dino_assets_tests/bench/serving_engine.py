"""What the machine gives without any service, measured whenever asked: ``python -m …bench.serving_engine JSON``.

A line on stdin, a line of JSON on stdout: seconds of a tile in our engine alone, with all its threads
at work, and in the plain loop of processor and AutoModel; and of decoding the picture. They take turns.
"""

import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

from dino_assets.images.decoding import decode_image
from dino_assets_tests.bench.serving_work import cut_picture, open_served_engine

ROUNDS = 5


def time_call(work: Callable[[], object], tiles: int = 1) -> float:
    start_s = time.perf_counter()
    work()
    return (time.perf_counter() - start_s) / tiles


def main() -> None:
    arguments = json.loads(sys.argv[1])
    weights, threads = Path(arguments["weights"]), arguments["threads"]
    data = Path(arguments["picture"]).read_bytes()
    encoder = open_served_engine(weights, Path(arguments["cache"]), threads=threads)
    encoder.widen()
    tile = cut_picture(data, encoder)
    assert len(tile) == 1, "one picture is to be one tile"
    processor = AutoImageProcessor.from_pretrained(weights)
    model = AutoModel.from_pretrained(weights, dtype=torch.float32).eval()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    pool = ThreadPoolExecutor(threads)

    def encode_alone() -> None:
        encoder.encode(tile, is_alone=True)

    def encode_many() -> None:
        list(pool.map(encoder.encode, [tile] * (2 * threads)))

    def run_plainly() -> None:
        torch.set_num_threads(threads)  # opening an engine may have left one
        with torch.inference_mode():
            model(**processor(picture, return_tensors="pt")).last_hidden_state[:, 1:].numpy()

    def measure_round() -> dict[str, float]:
        return {
            "alone_s": statistics.median(time_call(encode_alone) for _ in range(3)),
            "busy_s": time_call(encode_many, 2 * threads),
            "plain_s": statistics.median(time_call(run_plainly) for _ in range(2)),
            "decode_s": time_call(lambda: decode_image(data)),
        }

    measure_round()
    sys.stdout.write(json.dumps({"engine": str(encoder.spec)}) + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        rounds = [measure_round() for _ in range(ROUNDS)]
        medians = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        sys.stdout.write(json.dumps(medians) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
