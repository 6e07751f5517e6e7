"""Changes in a drop's source since its images were made: new, replaced and missing photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

from dino_assets.counting import count_of
from dino_assets.drops.cards import find_raw_twins
from dino_assets.drops.records import SourceEntry
from dino_assets.drops.sources.source import fingerprint, is_wanted
from dino_assets.store.commits.protocol import Manifest
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.store.objects import ObjectStore


@dataclass(frozen=True)
class SourceChanges:
    """Sorted paths of photographs that are new (``came``), replaced (``changed``) or missing (``gone``).

    A replaced photograph has another size. If all three are empty, only times differ. ``recorded`` counts
    the usable photographs in ``images``. ``fingerprint`` is the fingerprint of the new listing.
    """

    came: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    recorded: int
    fingerprint: str

    @property
    def has_new(self) -> bool:
        """Whether the source holds photographs that are not in the images."""
        return bool(self.came or self.changed)

    def describe_new(self) -> str:
        """Describe what is new: ``1 photograph came since the drop was read, the first is 'a.JPG'``."""
        parts = []
        if self.came:
            count = count_of(len(self.came), "photograph")
            parts.append(f"{count} came since the drop was read, the first is {self.came[0]!r}")
        if self.changed:
            count = count_of(len(self.changed), "photograph")
            verb = "was" if len(self.changed) == 1 else "were"
            parts.append(
                f"{count} {verb} replaced since the drop was read, the first is {self.changed[0]!r}"
            )
        return "; ".join(parts)

    def describe_gone(self) -> str:
        """Describe which photographs are missing; return an empty text if none is."""
        if not self.gone:
            return ""
        verb = "is" if len(self.gone) == 1 else "are"
        count = f"{len(self.gone)} of its {count_of(self.recorded, 'photograph')}"
        return f"{count} {verb} gone, the first is {self.gone[0]!r}"


def find_changes(
    store: ObjectStore, images: Manifest, entries: Sequence[SourceEntry], *, is_list: bool
) -> SourceChanges | None:
    """Compare a listing with the committed images; return None if no photograph and no time changed.

    The table of images is read only if the listing's fingerprint differs from the recorded one.

    Raises:
        CorruptObjectError: the images cannot be read.
    """
    listed = fingerprint(entries)
    if images.recipe.inputs.get("source") == listed:
        return None
    table = CommittedTable(store, "images", None, (images,))
    rows = table.read(str(images.recipe.output.drop), ["path", "bytes", "is_usable"])
    paths, are_usable = rows["path"].to_pylist(), rows["is_usable"].to_pylist()
    sizes = dict(zip(paths, rows["bytes"].to_pylist(), strict=True))
    usable = {path for path, is_usable in zip(paths, are_usable, strict=True) if is_usable}
    there = {entry.path: entry.size for entry in entries if entry.refusal is None}
    wanted = {entry.path for entry in entries if is_wanted(entry, is_list=is_list)}
    # A raw file beside its JPEG does not count as a second photograph.
    twins = find_raw_twins(path for path in wanted if path in there).keys() - sizes.keys()
    changes = SourceChanges(
        came=tuple(sorted((wanted & there.keys()) - sizes.keys() - twins)),
        changed=tuple(sorted(p for p, size in sizes.items() if there.get(p, size) != size)),
        gone=tuple(sorted(usable - there.keys())),
        recorded=len(usable),
        fingerprint=listed,
    )
    is_same_set = wanted - twins == sizes.keys()
    others = len(entries) - len(wanted)
    if changes.has_new or changes.gone or (is_same_set and others == _count_others(images)):
        return changes
    return None  # only a marker or a log changed, and neither is read


def _count_others(images: Manifest) -> int | None:
    count = images.facts.get("other_files")
    return count if isinstance(count, int) else None
