"""Mean and standard deviation that go with an imported checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dino_assets.core.conversion.recognition import Recognised
from dino_assets.core.weights import CONFIG, IMAGENET_MEAN, IMAGENET_STD

StatisticsName = Literal["imagenet", "sat493m"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Statistics:
    """What pixels are normalised with, and how we know."""

    mean: Triple
    std: Triple
    origin: str


STATISTICS: dict[StatisticsName, tuple[Triple, Triple]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "sat493m": ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
}


def choose_statistics(
    source: Path, found: Recognised, *, asked: StatisticsName | None = None
) -> Statistics:
    """What was asked for; else timm's config.json beside the file; else its name; else ImageNet."""
    if asked:
        return Statistics(*STATISTICS[asked], f"{asked}, as asked")
    if named := _read_timm_statistics(source.with_name(CONFIG)):
        return Statistics(*named, f"timm's {CONFIG}")
    # A file of timm's Hub is called model.safetensors: its folder has the name.
    said = f"{source.parent.name}/{source.name}".lower()
    if found.family == "dinov3_vit" and "sat493m" in said:
        return Statistics(*STATISTICS["sat493m"], "sat493m, by the name of the file")
    return Statistics(*STATISTICS["imagenet"], "ImageNet (the checkpoint names none)")


def make_preprocessor(found: Recognised, statistics: Statistics) -> dict[str, Any]:
    """``preprocessor_config.json``: statistics, and no resizing or cropping, which ruin tiles."""
    is_v3 = found.family == "dinov3_vit"
    return {
        "image_processor_type": "DINOv3ViTImageProcessorFast" if is_v3 else "BitImageProcessor",
        "do_resize": False,
        "do_center_crop": False,
        "do_rescale": True,
        "do_normalize": True,
        "image_mean": list(statistics.mean),
        "image_std": list(statistics.std),
        "statistics_from": statistics.origin,
    }


def _read_timm_statistics(path: Path) -> tuple[Triple, Triple] | None:
    try:
        config = json.loads(path.read_bytes())["pretrained_cfg"]
        (m0, m1, m2), (s0, s1, s2) = map(float, config["mean"]), map(float, config["std"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None  # not there, or not timm's
    return (m0, m1, m2), (s0, s1, s2)
