"""A repository of the Hub, and locating and bringing a checkpoint in one go."""

from pathlib import Path

import numpy as np

from dino_assets.weights.hub.locating import locate_checkpoint

WEIGHTS = np.random.default_rng(0).bytes(300_000)
FILES = {
    "model.safetensors": WEIGHTS,
    "config.json": b'{"hidden_size": 16}',
    "README.md": b"---\nlicense: mit\n---\n",
    "LICENSE": b"do what you like\n" * 100,
    "pytorch_model.bin": b"pickle",
    "onnx/model.onnx": b"another",
    "onnx/config.json": b"{}",
}
PAPERS = ("License.md", "licence.txt", "LICENSE.rst", "NOTICE-Meta", "readme.md")
KEPT = {"model.safetensors", "config.json", "README.md", "LICENSE"}
REPO = "org/model"
TOKEN = "hf_VerySecretToken"


def find_checkpoint(model: str, **arguments: object) -> Path:
    return locate_checkpoint(model, **arguments).bring()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def small(files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {name: files[name] for name in KEPT}
