"""``images`` of long lists: what is held for each row is little."""

import tracemalloc
from pathlib import Path

from dino_assets.drops.records import Drop
from dino_assets.drops.sources.lists import ListSource
from dino_assets.images.stage.drafting import draft_images
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore

# Rows beyond those on the page, of which nothing more is shown.
FEW_ROWS, MANY_ROWS = 3_200, 6_400
# Listing them once more, in the end, takes some 200 of these; records of all of them took 700.
MAX_BYTES_PER_ROW = 350


def measure_peak_bytes(folder: Path, count: int) -> int:
    """Peak of what Python holds while ``images`` of a list without a single file are made."""
    folder.mkdir()
    names = (f"field_{n // 1000:03d}/DJI_{n % 1000:04d}.JPG" for n in range(count))
    (folder / "list.txt").write_text("\n".join(names))
    source = ListSource(folder / "list.txt", shown="list.txt")
    tracemalloc.start()
    try:
        committed = commit(
            ObjectStore.in_memory(), draft_images(Drop("d", "", "", "d"), source, threads=1)
        )
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert committed.manifest.facts["findings"]["quarantined"] == count
    return peak_bytes


def test_draft_images__memory_per_row_of_a_list(tmp_path: Path):
    measure_peak_bytes(tmp_path / "first", 10)  # fonts, templates: held once
    few_bytes = measure_peak_bytes(tmp_path / "fewer", FEW_ROWS)
    many_bytes = measure_peak_bytes(tmp_path / "more", MANY_ROWS)
    per_row = (many_bytes - few_bytes) / (MANY_ROWS - FEW_ROWS)
    assert per_row < MAX_BYTES_PER_ROW
