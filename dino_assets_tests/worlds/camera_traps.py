"""Drawn camera traps: a folder per camera, animals that pass, and artefacts that fire in every picture."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (640, 480)
ANIMALS = ("deer", "boar", "fox", "hare", "badger")
_COLOURS = {
    "deer": (150, 100, 60), "boar": (60, 50, 50), "fox": (220, 110, 40), "hare": (190, 180, 160),
    "badger": (235, 235, 235),
}  # fmt: skip


_SIZES = {
    "deer": (150, 110),
    "boar": (110, 80),
    "fox": (85, 55),
    "hare": (45, 50),
    "badger": (70, 40),
}


@dataclass(frozen=True)
class DrawnBox:
    """A box of the detector: picture, edges in pixels, score, and what a person would see in it.

    ``artefact`` names the branch or stone that fires in every picture of a camera; it is empty for an animal.
    """

    path: str
    edges: tuple[int, int, int, int]
    score: float
    animal: str = ""
    artefact: str = ""


def draw_camera_traps(
    folder: Path, *, cameras: Sequence[str] = ("north", "south"), frames: int = 16, seed: int = 0
) -> list[DrawnBox]:
    """Draw the pictures of some cameras; return the boxes that a detector reports in them."""
    rng = np.random.default_rng(seed)
    boxes: list[DrawnBox] = []
    for number, camera in enumerate(cameras):
        scene = _draw_scene(rng)
        artefacts = {
            f"{camera} branch": (40 + 30 * number, 60, 120, 50),
            f"{camera} stone": (430, 330 - 40 * number, 90, 110),
        }
        for frame in range(frames):
            pixels = scene * rng.uniform(0.45, 1.25)  # clouds, dusk and flash
            path = f"{camera}/DCIM/{100 + frame // 8}RECNX/IMG_{frame:04d}.JPG"
            for name, edges in artefacts.items():
                shifts = rng.integers(-2, 3, 4)
                moved = tuple(int(a + b) for a, b in zip(edges, shifts, strict=True))
                boxes.append(DrawnBox(path, moved, 0.4, artefact=name))
            if frame % 4 == 1:
                animal = ANIMALS[(frame // 4 + 2 * number) % len(ANIMALS)]
                edges = (int(rng.integers(190, 280)), int(rng.integers(130, 360)), *_SIZES[animal])
                _paint(pixels, edges, animal, rng)
                boxes.append(DrawnBox(path, edges, 0.9, animal=animal))
            _save(folder / path, pixels, rng)
    return boxes


def write_megadetector(path: Path, boxes: Sequence[DrawnBox]) -> Path:
    """Write boxes as MegaDetector does: it says `animal` of all of them."""
    width, height = SIZE
    images: dict[str, list[dict[str, object]]] = {}
    for box in boxes:
        x, y, w, h = box.edges
        share = [x / width, y / height, w / width, h / height]
        detection = {"category": "1", "conf": box.score, "bbox": share}
        images.setdefault(box.path, []).append(detection)
    body = {
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "images": [{"file": file, "detections": detections} for file, detections in images.items()],
    }
    path.write_text(json.dumps(body))
    return path


def _draw_scene(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(60, 140, (12, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
    return np.asarray(picture, float) * (0.7, 1.0, 0.6)


def _paint(
    pixels: np.ndarray, edges: tuple[int, int, int, int], animal: str, rng: np.random.Generator
) -> None:
    x, y, w, h = edges
    stripes = 1 + 0.3 * np.sin(np.arange(w) / (3 + 2 * ANIMALS.index(animal)))
    coat = np.array(_COLOURS[animal]) * stripes[None, :, None]
    pixels[y : y + h, x : x + w] = coat + rng.normal(0, 5, (h, w, 3))


def _save(path: Path, pixels: np.ndarray, rng: np.random.Generator) -> None:
    noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noisy).save(sink, "JPEG", quality=90)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sink.getvalue())
