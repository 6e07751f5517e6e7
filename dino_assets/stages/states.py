"""What is made of what: for listings, and for who looks for files."""

from collections.abc import Iterator
from pathlib import Path

from dino_assets.errors import NotCommittedError
from dino_assets.records import Manifest
from dino_assets.store.manifests import content_hash, read_manifests
from dino_assets.store.objects import ObjectStore
from dino_assets.store.parts import fetch_part

ASSETS = ("weights", "images", "tiles", "embeddings", "projections", "selections")
_DROP_ASSETS = ("images", "tiles", "embeddings")


def find_outputs(store: ObjectStore, asset: str, drop: str | None = None) -> list[Manifest]:
    """The committed outputs of an asset for one drop (or for all drops together), in every space.

    Raises:
        NotCommittedError: there is none; says which there are.
    """
    keys = sorted(info.key for info in store.list(f"manifests/{asset}"))
    wanted = [key for key in keys if key.endswith(f"/{drop or '_'}.json")]
    found = read_manifests(store, wanted)
    if not found:
        names = sorted({key.rpartition("/")[2].removesuffix(".json") for key in keys} - {"_"})
        known = f"It is made for: {', '.join(names[:20])}." if names else "Materialise it first."
        if asset not in ASSETS:
            known = f"Assets are: {', '.join(ASSETS)}."
        of = f" of drop {drop!r}" if drop else ""
        raise NotCommittedError(f"{asset!r}{of} is not in store {store.url!r}. {known}")
    return found


def export_files(
    store: ObjectStore, asset: str, drop: str | None = None, *, folder: Path
) -> Iterator[Path]:
    """Write the files of an output under their own names, and its table as ``<asset>-<n>.parquet``."""
    for manifest in find_outputs(store, asset, drop):
        for number, part in enumerate(manifest.parts):
            path = folder / (part.name or f"{asset}-{number}.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            fetch_part(store, part, path)
            yield path


def list_spaces(store: ObjectStore, asset: str) -> list[str]:
    """The embedding spaces in which something of an asset is committed."""
    keys = (info.key.split("/") for info in store.list(f"manifests/{asset}"))
    return sorted({key[2] for key in keys if len(key) == 4})


def describe_drop(store: ObjectStore, drop: str) -> list[str]:
    """One word per asset: rows, ``–`` for nothing, ``(old)`` when its input has changed since."""
    words: list[str] = []
    above: set[str] = set()
    for asset in _DROP_ASSETS:
        try:
            found = find_outputs(store, asset, drop)
        except NotCommittedError:
            words.append(f"{asset} –")
            above = set()
            continue
        fresh = [m for m in found if not above or above & set(m.recipe.inputs.values())]
        shown = fresh or found
        words.append(f"{asset} {shown[-1].rows}{'' if fresh else ' (old)'}")
        above = {content_hash(manifest) for manifest in shown}
    return words
