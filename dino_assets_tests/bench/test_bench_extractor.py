"""``extract_from_directory`` against the loop that people write with transformers, in the same run.

The loop opens with Pillow, scales to 224 px, normalises with torch, and calls the model in batches of 32 in
inference mode, with one thread, so that CPU seconds are what the work needs and not what threads wait.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel

from dino_assets import DINOv2Extractor
from dino_assets.drawing.photographs import draw_photo
from dino_assets.embeddings.encoder.openvino_engine import has_bf16, has_openvino
from dino_assets_tests.bench.encoder_workload import Case, find_or_write_checkpoint

pytestmark = pytest.mark.bench
CASES = {
    "S/14": Case("DINOv2 S/14 @224", "dinov2", 384, 6, 14, 224, 0, (), 0),
    "B/14": Case("DINOv2 B/14 @224", "dinov2", 768, 12, 14, 224, 0, (), 0),
}
# What the pictures are: a camera's photographs, or those of a data set.
SIZES = {"9 MP": (4000, 2250, 6), "0.2 MP": (500, 375, 24)}
# 2.03 to 2.49 were measured for photographs of 9 MP and a ViT-S, 3.1 to 4.3 elsewhere. There, in ms of CPU
# on an AMD EPYC with avx512_bf16, ours are decoding 26, scaling 24 and network 29 (79), the loop's 57, 20
# and 125 (204). So decoding alone allows 7.9 times, a network that costs nothing 4.0. Scaling could be 2.7
# ms by torch's own uint8 kernel (3.5 times), but one pixel in 2,000 is then one level from Pillow's, and a
# float32 vector up to 9e-4 from the documents' (at most 1e-5 is promised).
GOALS = {"9 MP": 1.8, "0.2 MP": 2.5}
ROUNDS = 3
CLOSEST = 0.999


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    folders = {}
    for name, (width, height, count) in SIZES.items():
        folders[name] = tmp_path_factory.mktemp("pictures")
        for seed in range(count):
            data = draw_photo(seed, width=width, height=height)
            (folders[name] / f"{seed:03d}.jpg").write_bytes(data)
    return folders


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


def make_plain_loop(checkpoint: Path, dtype: torch.dtype) -> Callable[[Path], torch.Tensor]:
    model = AutoModel.from_pretrained(checkpoint, dtype=dtype).eval()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    def read(path: Path) -> torch.Tensor:
        with Image.open(path) as image:
            small_image = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        return (torch.from_numpy(np.array(small_image)).permute(2, 0, 1) / 255 - mean) / std

    def embed(folder: Path) -> torch.Tensor:
        paths = sorted(folder.glob("*.jpg"))
        vectors = []
        for first in range(0, len(paths), 32):
            planes = torch.stack([read(path) for path in paths[first : first + 32]])
            with torch.inference_mode():
                vectors.append(model(planes.to(dtype)).last_hidden_state[:, 0].float())
        return torch.cat(vectors)

    return embed


@pytest.mark.parametrize("name", CASES)
def test_extract_from_directory__against_a_plain_loop(name, folders, home, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(home))
    checkpoint = home / name.replace("/", "")
    find_or_write_checkpoint(checkpoint, CASES[name])
    extractor = DINOv2Extractor(str(checkpoint), device="cpu", progress=False)
    peers = {
        "plain float32": make_plain_loop(checkpoint, torch.float32),
        "plain bfloat16": make_plain_loop(checkpoint, torch.bfloat16),
        "ours": lambda folder: extractor.extract_from_directory(folder)[0],
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ratios = {size: _measure(peers, folder, size) for size, folder in folders.items()}
    finally:
        torch.set_num_threads(threads)
    print(f"\n{name}, {extractor.describe()['engine']}: {ratios}")
    if not (has_openvino() and has_bf16()):
        pytest.skip("this CPU has no bfloat16 products: the goal is not meant for it")
    missed = {size: ratio for size, ratio in ratios.items() if ratio < GOALS[size]}
    assert not missed


def _measure(peers: dict, folder: Path, size: str) -> float:
    """CPU seconds per picture of each peer, in turn; how many times as fast as plain float32 ours is."""
    vectors = {peer: embed(folder) for peer, embed in peers.items()}  # builds what is built once
    seconds: dict[str, list[tuple[float, float]]] = {peer: [] for peer in peers}
    for _ in range(ROUNDS):
        for peer, embed in peers.items():
            start = time.process_time(), time.perf_counter()
            embed(folder)
            end = time.process_time(), time.perf_counter()
            seconds[peer].append((end[0] - start[0], end[1] - start[1]))
    count = len(vectors["ours"])
    for peer, rounds in seconds.items():
        cpu, wall = (statistics.median(each) / count * 1e3 for each in zip(*rounds, strict=True))
        cosine = torch.cosine_similarity(vectors[peer], vectors["plain float32"]).min()
        print(f"\n{size}, {peer}: {cpu:.1f} ms CPU, {wall:.1f} ms a picture, cosine {cosine:.5f}")
    assert torch.cosine_similarity(vectors["ours"], vectors["plain float32"]).min() >= CLOSEST
    pairs = zip(seconds["plain float32"], seconds["ours"], strict=True)
    return round(statistics.median(plain[0] / ours[0] for plain, ours in pairs), 2)
