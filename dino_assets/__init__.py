"""From drone flights to the few tiles worth labelling, with full lineage.

Importing this package loads neither Dagster nor torch: public names are resolved when first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "defs": "dino_assets.definitions",
    "fetch_dinov3": "dino_assets.api.fetcher",
    "validate_dinov3": "dino_assets.api.fetcher",
}


def __getattr__(name: str) -> Any:
    # `dagster … -m dino_assets` looks for Definitions among this module's attributes.
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
