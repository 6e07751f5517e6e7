"""Mean and standard deviation that go with an imported checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dino_assets.errors import ConfigError
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import (
    STATISTICS,
    Statistics,
    Triple,
    guess_statistics,
)
from dino_assets.weights.records import Family, StatisticsName

MEAN, STD = "image_mean", "image_std"
_HUB_FOLDERS = ("snapshots", "commits")  # huggingface_hub's, ours: folders named by commit


def choose_statistics(
    source: Path,
    family: Family,
    *,
    asked: StatisticsName | None = None,
    name: str = "",
    published_as: str | None = None,
) -> Statistics:
    """What was asked for; else timm's config.json beside the file; else its name; else ImageNet.

    ``name`` is what the model calls itself, where it does. A repository that it was ``published_as``
    is known for certain, and then no other name counts.

    Raises:
        ConfigError: what was asked for is not known.
    """
    if asked:
        if asked not in STATISTICS:
            raise ConfigError(
                f"there are no statistics called {asked!r}. Choose one of {', '.join(STATISTICS)}.",
                setting="statistics",
                value=asked,
            )
        return Statistics(*STATISTICS[asked], f"{asked}, as asked")
    if named := _read_timm_statistics(source.with_name(CONFIG)):
        return Statistics(*named, f"timm's {CONFIG}")
    # A file of timm's Hub is called model.safetensors: its folder has the name.
    names = {"file": source.name, "folder": name_folder(source.parent), "model": name}
    if published_as:
        names = {"repository": published_as}
    by_name = {f"the name of the {what}": text for what, text in names.items()}
    return guess_statistics(family, by_name)


def complete_preprocessor(
    preprocessor: Mapping[str, Any], statistics: Statistics, family: Family
) -> dict[str, Any]:
    """``preprocessor_config.json`` with these statistics; what else it has stays.

    Where it has nothing, no resizing or cropping, which ruin tiles.
    """
    is_v3 = family == "dinov3_vit"
    rest = preprocessor or {
        "image_processor_type": "DINOv3ViTImageProcessorFast" if is_v3 else "BitImageProcessor",
        "do_resize": False,
        "do_center_crop": False,
        "do_rescale": True,
        "do_normalize": True,
    }
    return {
        **rest,
        MEAN: list(statistics.mean),
        STD: list(statistics.std),
        "statistics_from": statistics.origin,
    }


def name_folder(folder: Path) -> str:
    """What people call a folder; one of a Hub cache has but a commit's hash, so its repository's name."""
    place = folder if folder.name.strip(".") else folder.resolve()  # "." and ".." are no names
    place = place.parent.resolve() / place.name
    if place.parent.name not in _HUB_FOLDERS:
        return place.name
    repository = place.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    return f"{repository}@{place.name}"


def _read_timm_statistics(path: Path) -> tuple[Triple, Triple] | None:
    try:
        config = json.loads(path.read_bytes())["pretrained_cfg"]
        (m0, m1, m2), (s0, s1, s2) = map(float, config["mean"]), map(float, config["std"])
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None  # not there, or not timm's
    return (m0, m1, m2), (s0, s1, s2)
