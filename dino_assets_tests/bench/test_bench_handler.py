"""A serverless worker's cold start: from the start of a process to its first answer.

The peer is what the endpoint's document describes, by hand: Pillow and `transformers` in float32. Beside it
our first start ever, which converts the network and holds it against the reference, and every later one
that has the same ``HF_HOME`` on a volume. ViT-S/14 with random weights, one picture.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dino_assets.drawing.photographs import draw_photo
from dino_assets_tests.worlds.networks import write_sample

pytestmark = pytest.mark.bench
ROUNDS = 5

OURS = """
import base64, json, sys
from dino_assets.serving.handler import handler
with open(sys.argv[2], "rb") as file:
    picture = base64.b64encode(file.read()).decode()
print(json.dumps(handler({"input": {"image": picture}})["embedding"]))
"""
BY_HAND = """
import json, sys
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel
processor = AutoImageProcessor.from_pretrained(sys.argv[1])
model = AutoModel.from_pretrained(sys.argv[1]).eval()
gray = Image.open(sys.argv[2]).convert("L").resize((224, 224)).convert("RGB")
with torch.no_grad():
    tokens = model(**processor(gray, return_tensors="pt")).last_hidden_state
print(json.dumps(tokens[0, 0].tolist()))
"""


def answer_s(program: str, model: Path, picture: Path) -> float:
    """Seconds until a new process has given its answer."""
    environment = {**os.environ, "DINO_MODEL_ID": str(model)}
    start_s = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", program, str(model), str(picture)],
        env=environment,
        capture_output=True,
        check=True,
    )
    took_s = time.perf_counter() - start_s
    assert len(json.loads(process.stdout)) == 384
    return took_s


def test_handler__from_the_start_of_a_process(tmp_path: Path, monkeypatch):
    model, picture, home = tmp_path / "model", tmp_path / "a.jpg", tmp_path / "hf"
    write_sample(model, "dinov2", dim=384, layers=12, heads=6, native_px=518)
    picture.write_bytes(draw_photo(0, width=640, height=480))
    monkeypatch.setenv("HF_HOME", str(home))
    seconds: dict[str, list[float]] = {"by hand": [], "first start": [], "later start": []}
    answer_s(BY_HAND, model, picture)  # files that both read are in memory now
    for _ in range(ROUNDS):
        shutil.rmtree(home, ignore_errors=True)
        for name, program in zip(seconds, (BY_HAND, OURS, OURS), strict=True):
            seconds[name].append(answer_s(program, model, picture))
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    print()
    for name, median in medians.items():
        print(f"{name}: {median:.1f} s, {median / medians['by hand']:.2f} × by hand")
    assert medians["later start"] <= medians["by hand"]
