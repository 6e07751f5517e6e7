"""Records of a drop and of the files in its source."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Drop:
    """A drop: the photographs of one flight or SD card, and one partition in Dagster.

    ``fingerprint`` is the fingerprint of the source at registration. ``observed`` is the latest fingerprint,
    or empty if the fingerprint has never changed. ``tags`` are set by a person and sorted. A retired drop
    and its outputs are kept, but maps and rounds leave it out. ``boxes`` is the hash of the boxes that become
    its tiles, or empty if a grid cuts them.
    """

    name: str
    source: str
    fingerprint: str
    original_name: str
    tags: tuple[str, ...] = ()
    is_retired: bool = False
    observed: str = ""
    boxes: str = ""


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One listed file of a source. ``refusal`` is a word for the reason why it must not be opened, or None.

    ``stamp`` is the time of the last change, or a bucket's ETag. ``label`` comes from a list or from a folder
    named after a class. ``metadata`` (a JSON object) comes from a list only.
    """

    path: str
    size: int
    stamp: str
    refusal: str | None = None
    refusal_detail: str = ""
    label: str | None = None
    metadata: str | None = None


MAX_FILE_BYTES = 512 * 2**20
