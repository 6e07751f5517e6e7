"""Locating and bringing a checkpoint in one go."""

from pathlib import Path

from dino_assets.weights.hub.locating import locate_checkpoint


def find_checkpoint(model: str, **arguments: object) -> Path:
    return locate_checkpoint(model, **arguments).bring()
