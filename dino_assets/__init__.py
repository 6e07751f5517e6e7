"""From drone flights to the few tiles worth labelling, with full lineage.

Importing this package loads neither Dagster nor torch: public names are resolved when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that who uses them has their types
    from dino_assets.api.fetcher import fetch_dinov3 as fetch_dinov3
    from dino_assets.api.fetcher import validate_dinov3 as validate_dinov3
    from dino_assets.api.teacher import DinoV3Config as DinoV3Config
    from dino_assets.api.teacher import DinoV3Teacher as DinoV3Teacher

__version__ = "0.1.0"

_LAZY = {
    # Not `defs` or `definitions`: importing the modules of these names would hide it.
    "lineage": ("dino_assets.definitions", "defs"),
    "DinoV3Config": ("dino_assets.api.teacher", "DinoV3Config"),
    "DinoV3Teacher": ("dino_assets.api.teacher", "DinoV3Teacher"),
    "fetch_dinov3": ("dino_assets.api.fetcher", "fetch_dinov3"),
    "validate_dinov3": ("dino_assets.api.fetcher", "validate_dinov3"),
}


def __getattr__(name: str) -> Any:
    # `dagster … -m dino_assets` looks for Definitions among this module's attributes.
    if name in _LAZY:
        module, attribute = _LAZY[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
