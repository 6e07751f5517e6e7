"""Links to committed files, as the UI that ``dino-assets ui`` starts opens them."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

from dino_assets.store.commits.catalogue import ASSETS
from dino_assets.store.commits.parts import part_key
from dino_assets.store.commits.protocol import OutputId, Part

ROOT = "/files"
SMALL = "?small"  # of a picture: as it is shown inline
PICTURE_SUFFIXES = frozenset({".png", ".jpg"})
# What a browser shows; nothing else is linked or served.
CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".csv": "text/csv; charset=utf-8",
        ".json": "application/json",
    }
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def link_to(output: OutputId, part: Part) -> str | None:
    """Make the link to a file of an output; none for a file that a browser does not show.

    It has no host and no port: it is opened in the UI that shows it, wherever that listens, through a
    tunnel as well. It names the content, so it is right or it does not open.
    """
    name = part.name or ""
    link = f"{ROOT}/{output.asset}/{output.drop or '_'}/{part.sha256}/{name}"
    return link if find_key(*link.split("/")[2:]) == part.key else None


def find_key(*segments: str) -> str | None:
    """Find the key of the part that a link's segments after the root name; None if it is no such link."""
    if len(segments) != 4:
        return None
    asset, drop, sha256, name = segments
    suffix = PurePosixPath(name).suffix
    is_link = (
        asset in ASSETS
        and (drop == "_" or _NAME.fullmatch(drop))
        and _SHA256.fullmatch(sha256)
        and _NAME.fullmatch(name)
        and suffix in CONTENT_TYPES
    )
    if not is_link:
        return None
    return part_key(OutputId(asset, None if drop == "_" else drop), sha256, suffix)
