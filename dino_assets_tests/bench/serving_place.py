"""Where the services that are compared lie, and what their processes get."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from dino_assets_tests.bench.encoder_workload import PROJECT
from dino_assets_tests.worlds.networks import write_sample

SIZES = {"s": (384, 6), "b": (768, 12)}
CPUS = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Place:
    """Where a comparison lies: weights, what is converted once for all, what services write."""

    root: Path
    size: str = "s"
    layers: int = 12

    @property
    def weights(self) -> Path:
        return self.root / f"vit{self.size}14"

    @property
    def hub(self) -> Path:
        return self.root / "hf"

    @property
    def cache(self) -> Path:
        """Where the service itself keeps converted networks, outside a project."""
        return self.hub / "dino-assets"

    def write_weights(self) -> None:
        """Random weights, with a processor that leaves pictures of the tile's side as they are."""
        dim, heads = SIZES[self.size]
        write_sample(
            self.weights, "dinov2", dim=dim, layers=self.layers, heads=heads, native_px=518
        )
        file = self.weights / "preprocessor_config.json"
        settings = {"image_processor_type": "BitImageProcessor"}
        settings |= {"do_resize": False, "do_center_crop": False}
        file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def make_environment(place: Place, **more: str) -> dict[str, str]:
    """Of a process of the comparison: this repository's package, no network."""
    paths = [more.pop("PYTHONPATH", ""), str(PROJECT), os.environ.get("PYTHONPATH", "")]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DINO_")},
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_HOME": str(place.hub),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        **more,
    }


def make_folder(place: Place, name: str) -> Path:
    folder = place.root / name
    folder.mkdir(exist_ok=True)
    return folder
