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
    others = [
        [],
        [SourceEntry("b", 1, "2")],
        [SourceEntry("a", 2, "2")],
        [SourceEntry("a", 1, "3")],
        [SourceEntry("a", 1, "2", "link")],
        [entry, entry],
        [SourceEntry("a", 12, "")],
        [SourceEntry("a\n", 1, "2")],
    ]
    found = {fingerprint(entries) for entries in [[entry], *others]}
    assert len(found) == 1 + len(others)
    assert fingerprint(iter([entry])) == fingerprint([entry])


def test_fingerprint__changes_when_anything_changes(card: Path):
    put(card, "a.jpg", "sub/b.jpg")
    source = FolderSource(card, shown="card")
    seen = {fingerprint(source.entries())}
    assert fingerprint(source.entries()) in seen

    def is_new() -> bool:
        found = fingerprint(source.entries())
        if found in seen:
            return False
        seen.add(found)
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
    before = fingerprint(FolderSource(card, shown="card").entries())
    card.rename(tmp_path / "moved")
    assert fingerprint(FolderSource(tmp_path / "moved", shown="x").entries()) == before


def test_fingerprint__unchanged_by_labels_of_folders():
    before = hashlib.sha256(b"wheat/a.jpg\x001\x002\x00\n").hexdigest()
    assert fingerprint([SourceEntry("wheat/a.jpg", 1, "2")]) == before
    assert fingerprint([SourceEntry("wheat/a.jpg", 1, "2", label="wheat")]) == before
