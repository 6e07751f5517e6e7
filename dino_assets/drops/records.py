"""Records of a drop and its files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Drop:
    """Images that arrived together: one partition.

    ``fingerprint`` is the source's at registration. ``observed`` is the latest one, empty if it never
    differed. ``tags`` are set by a person and sorted. A retired drop and its outputs are kept, but left out
    of pools, maps and rounds.
    """

    name: str
    source: str
    fingerprint: str
    original_name: str
    tags: tuple[str, ...] = ()
    is_retired: bool = False
    observed: str = ""


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One listed file of a source. ``refusal`` is the reason why it must not be opened, if there is one.

    ``label`` and ``metadata`` (a JSON object) come from a list or a class folder.
    """

    path: str
    size: int
    stamp: str
    refusal: str | None = None
    refusal_detail: str = ""
    label: str | None = None
    metadata: str | None = None


MAX_FILE_BYTES = 512 * 2**20
