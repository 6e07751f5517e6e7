"""When two listings count as the same."""

import hashlib
import os
from pathlib import Path

from dino_assets.drops.records import SourceEntry
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.drops.sources.source import fingerprint
from dino_assets_tests.worlds.cards import put


def test_fingerprint__every_field_counts():
    entry = SourceEntry("a", 1, "2")
    other_entries = [
        [],
        [SourceEntry("b", 1, "2")],
        [SourceEntry("a", 2, "2")],
        [SourceEntry("a", 1, "3")],
        [SourceEntry("a", 1, "2", "link")],
        [entry, entry],
        [SourceEntry("a", 12, "")],
        [SourceEntry("a\n", 1, "2")],
    ]
    fingerprints = {fingerprint(entries) for entries in [[entry], *other_entries]}
    assert len(fingerprints) == 1 + len(other_entries)
    assert fingerprint(iter([entry])) == fingerprint([entry])


def test_fingerprint__changes_when_anything_changes(card: Path):
    put(card, "a.jpg", "sub/b.jpg")
    source = FolderSource(card, shown="card")
    fingerprints = {fingerprint(source.entries())}
    assert fingerprint(source.entries()) in fingerprints

    def is_new() -> bool:
        latest = fingerprint(source.entries())
        if latest in fingerprints:
            return False
        fingerprints.add(latest)
        return True

    put(card, "c.jpg")
    assert is_new()
    (card / "c.jpg").rename(card / "d.jpg")
    assert is_new()
    os.utime(card / "a.jpg", ns=(1, 1))
    assert is_new()
    (card / "a.jpg").write_bytes(b"longer than before")
    os.utime(card / "a.jpg", ns=(1, 1))
    assert is_new()
    (card / "d.jpg").unlink()
    assert is_new()
    (card / "e.jpg").symlink_to("a.jpg")
    assert is_new()
    put(card, "notes.txt")  # not a photograph, still a sign that the copy goes on
    assert is_new()
    assert not is_new()


def test_fingerprint__independent_of_the_folder(card: Path, tmp_path: Path):
    put(card, "a.jpg", "sub/b.jpg")
    expected = fingerprint(FolderSource(card, shown="card").entries())
    card.rename(tmp_path / "moved")
    assert fingerprint(FolderSource(tmp_path / "moved", shown="x").entries()) == expected


def test_fingerprint__unchanged_by_labels_of_folders():
    expected = hashlib.sha256(b"wheat/a.jpg\x001\x002\x00\n").hexdigest()
    assert fingerprint([SourceEntry("wheat/a.jpg", 1, "2")]) == expected
    assert fingerprint([SourceEntry("wheat/a.jpg", 1, "2", label="wheat")]) == expected
