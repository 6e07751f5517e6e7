"""Records of a drop and its files."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Drop:
    """Images that arrived together: one partition.

    ``fingerprint`` is what its source looked like when it was registered, ``observed`` when it was last
    looked at, if that was ever something else. ``tags`` are a person's words for it, sorted. A retired drop is kept with all
    that is made of it, and left out of pools, maps and rounds.
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
    """One file as an inbox lists it. ``refusal`` says why it must not be opened, if so.

    ``label`` and ``metadata`` (a JSON object) are what a list or a class folder says about it.
    """

    path: str
    size: int
    stamp: str
    refusal: str | None = None
    refusal_detail: str = ""
    label: str | None = None
    metadata: str | None = None


MAX_FILE_BYTES = 512 * 2**20
