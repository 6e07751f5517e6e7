"""Pixel statistics (mean, standard deviation) of imported checkpoints."""

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
# Parents of folders named by commit: in huggingface_hub's cache, in this package's cache.
_HUB_FOLDERS = ("snapshots", "commits")


def choose_statistics(
    source: Path,
    family: Family,
    *,
    asked: StatisticsName | None = None,
    name: str = "",
    published_as: str | None = None,
) -> Statistics:
    """Choose the pixel statistics: ``asked``, else timm's, else by the model's name, else ImageNet's.

    timm's are in the config.json beside the file. ``name`` is the model's name in its own config. If the
    repository is known (``published_as``), no other name is considered.

    Raises:
        ConfigError: ``asked`` is unknown.
    """
    if asked:
        if asked not in STATISTICS:
            raise ConfigError(
                f"unknown statistics {asked!r}. Choose one of {', '.join(STATISTICS)}.",
                setting="statistics",
                value=asked,
            )
        return Statistics(*STATISTICS[asked], f"{asked}, as asked")
    if of_timm := _read_timm_statistics(source.with_name(CONFIG)):
        return Statistics(*of_timm, f"timm's {CONFIG}")
    # timm's files on the Hub are all called model.safetensors: the folder has the model's name.
    names = {"file": source.name, "folder": name_folder(source.parent), "model": name}
    if published_as:
        names = {"repository": published_as}
    by_name = {f"the name of the {what}": text for what, text in names.items()}
    return guess_statistics(family, by_name)


def complete_preprocessor(
    preprocessor: Mapping[str, Any], statistics: Statistics, family: Family
) -> dict[str, Any]:
    """Put pixel statistics into the content of ``preprocessor_config.json``; keep its other keys.

    An empty ``preprocessor`` gets defaults that neither resize nor crop, since both would ruin tiles.
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
    """Return a folder's name, or ``repository@commit`` for a folder in a cache of the Hub."""
    place = folder if folder.name.strip(".") else folder.resolve()  # "." and ".." are not names
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
        return None  # missing, or not timm's
    return (m0, m1, m2), (s0, s1, s2)
