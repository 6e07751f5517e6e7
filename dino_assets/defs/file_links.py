"""Links to committed files, which work in the UI that ``dino-assets ui`` starts."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType

from dino_assets.store.commits.catalogue import ASSETS
from dino_assets.store.commits.parts import part_key
from dino_assets.store.commits.protocol import OutputId, Part

ROOT = "/files"
SMALL = "?small"  # asks for a reduced picture, to be shown inline
PICTURE_SUFFIXES = frozenset({".png", ".jpg"})
# File types that a browser shows, and archives that it saves. Other files are neither linked nor served.
CONTENT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".csv": "text/csv; charset=utf-8",
        ".json": "application/json",
        ".zip": "application/zip",
    }
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def link_to(output: OutputId, part: Part) -> str | None:
    """Make the link to a file of an output; return None for a file that a browser neither shows nor saves.

    The link has no host and no port, so it works wherever the UI listens, also through a tunnel. It
    contains the hash of the file, so it never opens other content.
    """
    name = part.name or ""
    link = f"{ROOT}/{output.asset}/{output.drop or '_'}/{part.sha256}/{name}"
    return link if find_key(*link.split("/")[2:]) == part.key else None


def find_key(*segments: str) -> str | None:
    """Find the key in the store of the file that a link names; None if the link is not valid.

    ``segments`` are the link's names between slashes, after ``ROOT``.
    """
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
