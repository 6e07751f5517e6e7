"""From drone flights to the few tiles worth labelling, with full lineage.

Importing this package loads neither Dagster nor torch: public names are resolved when first used.
"""

from importlib import import_module
from typing import Any

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
