"""Opening of a source by its address: folder, list or bucket prefix."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dino_assets.drops.sources.buckets import BucketSource
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.lists import ListSource
from dino_assets.drops.sources.source import Source
from dino_assets.errors import ConfigError, SourceError
from dino_assets.settings.environment import load_settings, resolve_storage
from dino_assets.settings.records import RequestLimits
from dino_assets.settings.urls import hide_secrets, is_bucket_url, list_bucket_prefixes
from dino_assets.store.objects import open_store


def open_source(
    source: str,
    *,
    root: Path,
    image_roots: Sequence[Path] | None = None,
    limits: RequestLimits | None = None,
) -> Source:
    """Open a source by its address; relative paths are relative to ``root``.

    A list may name files in its own folder and below ``image_roots`` (by default those of the settings).

    Raises:
        SourceError: nothing exists at this address.
        ConfigError: the address has an unknown scheme.
    """
    if is_bucket_url(source):
        storage = resolve_storage(source, root=root)
        return BucketSource(open_store(replace(storage, limits=limits or storage.limits)))
    if "://" in source:
        raise ConfigError(
            f"{hide_secrets(source)!r} is not a source. Expected a folder, a .csv or .txt list, or an address "
            f"that begins with {', '.join(list_bucket_prefixes())}",
            reason="no-source",
        )
    try:
        path = (root / Path(source).expanduser()).resolve()
        is_folder, is_file = path.is_dir(), path.is_file()
    # No permission, a name too long; a loop of links or an unknown ~user; a zero byte.
    except (OSError, RuntimeError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else str(err).rstrip(".")
        raise SourceError(
            f"{source!r} cannot be opened: {why}. Check the path, and whether you may read it.",
            reason="unreadable",
            path=source,
        ) from err
    if is_folder:
        return FolderSource(path, shown=source)
    if is_file and path.suffix.lower() in (".csv", ".txt"):
        roots = load_settings(root).image_roots if image_roots is None else image_roots
        return ListSource(path, shown=source, image_roots=[root / each for each in roots])
    if is_file:
        raise SourceError(
            f"{source!r} is a single file. Give the folder that the pictures are in, such as "
            f"{str(Path(source).parent)!r}, or a .csv or .txt list of pictures.",
            reason="a-file",
            path=source,
        )
    raise SourceError(
        f"there is no folder and no .csv or .txt list at {source!r}. Check the path, and that the "
        "disk or card is mounted.",
        reason="missing",
        path=source,
    )
