"""Catalogue of Meta's published checkpoints: full names, short names, sizes."""

import re
from dataclasses import dataclass

DEFAULT_TEACHER = "facebook/dinov3-vitl16-pretrain-lvd1689m"
_OWNER = "facebook/"
_DATA = ("lvd1689m", "sat493m")
# Common names of sizes that the Hub does not use → the Hub's names.
_OTHER_SPELLINGS = {"vith16": "vith16plus", "vit7b": "vit7b16"}
_DINOV3 = re.compile(r"dinov3-(?P<size>vit[a-z0-9]+?)(?:-pretrain)?(?:-(?P<data>[a-z0-9]+))?")


@dataclass(frozen=True)
class Published:
    """Family, sizes and number of parameters of the model in one of Meta's repositories."""

    family: str
    dim: int
    layers: int
    heads: int
    parameters: int


def _dinov2(dim: int, layers: int, heads: int, parameters: int) -> tuple[Published, Published]:
    """Describe two models of one size: without registers, and with four registers of ``dim`` numbers each."""
    return (
        Published("dinov2", dim, layers, heads, parameters),
        Published("dinov2_with_registers", dim, layers, heads, parameters + 4 * dim),
    )


_DINOV2 = {
    "small": _dinov2(384, 12, 6, 22_056_576),
    "base": _dinov2(768, 12, 12, 86_580_480),
    "large": _dinov2(1024, 24, 16, 304_368_640),
    "giant": _dinov2(1536, 40, 24, 1_136_480_768),
}
_SIZES = {
    "vits16": Published("dinov3_vit", 384, 12, 6, 21_596_544),
    "vits16plus": Published("dinov3_vit", 384, 12, 6, 28_692_864),
    "vitb16": Published("dinov3_vit", 768, 12, 12, 85_660_416),
    "vitl16": Published("dinov3_vit", 1024, 24, 16, 303_129_600),
    "vith16plus": Published("dinov3_vit", 1280, 32, 20, 840_592_640),
    "vit7b16": Published("dinov3_vit", 4096, 40, 32, 6_716_035_072),
}
_ON_SATELLITE_IMAGES = ("vitl16", "vit7b16")

PUBLISHED: dict[str, Published] = {
    **{f"facebook/dinov2-{size}": plain for size, (plain, _) in _DINOV2.items()},
    **{f"facebook/dinov2-with-registers-{size}": more for size, (_, more) in _DINOV2.items()},
    **{f"facebook/dinov3-{size}-pretrain-lvd1689m": what for size, what in _SIZES.items()},
    **{f"facebook/dinov3-{size}-pretrain-sat493m": _SIZES[size] for size in _ON_SATELLITE_IMAGES},
}


def full_name(name: str) -> str:
    """Return the Hub repository that a short name means; return any other name unchanged.

    Short names are ``dinov2-base``, ``dinov3-vitl16``, ``dinov3-vitl16-sat493m`` and so on. ``vith16``
    and ``vit7b`` mean ``vith16plus`` and ``vit7b16``.
    """
    short = name.removeprefix(_OWNER)
    if _OWNER + short in PUBLISHED:
        return _OWNER + short
    if match := _DINOV3.fullmatch(short):
        size = _OTHER_SPELLINGS.get(match["size"], match["size"])
        whole = f"{_OWNER}dinov3-{size}-pretrain-{match['data'] or _DATA[0]}"
        if whole in PUBLISHED:
            return whole
    return name


def short_names() -> tuple[str, ...]:
    """List every short name, for messages."""
    return tuple(
        name.removeprefix(_OWNER).replace("-pretrain", "").removesuffix(f"-{_DATA[0]}")
        for name in PUBLISHED
    )
