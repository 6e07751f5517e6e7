"""Check of the committed labels."""

from collections.abc import Iterator

from dino_assets.counting import count_of
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.verdicts import Verdict


def judge_labels(labels: CommittedTable, tiles: CommittedTable) -> Verdict:
    """Check that people agree, and that every labelled tile is still a tile of some drop; else warn."""
    facts = labels.manifest(None).facts
    wanted = set(labels.read(None, ["tile_id"])["tile_id"].drop_null().to_pylist())
    for ids in _walk_ids(tiles) if wanted else ():
        wanted.difference_update(ids)
        if not wanted:
            break
    count = count_of(labels.rows, "label")
    doubts = []
    if conflicts := facts["conflicts"]:
        doubts.append(f"{count_of(conflicts, 'disagreement')}: settle them in `dino-assets studio`")
    if wanted:
        doubts.append(
            f"{count_of(len(wanted), 'labelled tile')} in no drop any more, such as {min(wanted)}"
        )
    if doubts:
        return Verdict("labels", True, f"{count}; {'; '.join(doubts)}", warns=True)
    return Verdict("labels", True, f"{count}, without a disagreement")


def _walk_ids(tiles: CommittedTable) -> Iterator[list[str]]:
    for _, part in tiles.parts(["tile_id"]):
        yield part["tile_id"].to_pylist()
