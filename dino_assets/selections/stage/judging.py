"""Check of a committed round."""

from collections import Counter
from collections.abc import Mapping, Sequence

from dino_assets.counting import count_of
from dino_assets.drops.naming import join_names
from dino_assets.embeddings.stage.origins import hash_tiles
from dino_assets.embeddings.stage.pool import hash_inputs
from dino_assets.errors import CorruptObjectError
from dino_assets.selections.stage.paid import find_paid, read_round
from dino_assets.selections.stage.quotas import name_camera
from dino_assets.store.commits.protocol import Recipe
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.tiles.reading import read_paths_and_classes, read_windows
from dino_assets.tiles.same_ground import SameGround
from dino_assets.verdicts import Verdict


def judge_selections(
    rounds: CommittedTable, embeddings: CommittedTable, tiles: CommittedTable, name: str
) -> Verdict:
    """Check that a round has as many tiles as its budget, each once, in the pool and not chosen before.

    No drop, camera or class of a detector has more tiles than the round allows, and no two tiles show the same
    ground. A round with fewer tiles than its budget, or than the share of a class, passes with a warning if the
    reason is recorded. A tile that has left the pool because its drop was embedded again or is gone is only a
    warning, too.
    """
    manifest = rounds.manifest(name)
    named = manifest.recipe.inputs
    try:
        rows = read_round(rounds, name, ["tile_id", "drop", "path", "image_id"]).to_pylist()
        paid = {
            tile_id
            for earlier in find_paid(rounds.store, rounds, before=name)
            if earlier.name in named
            for tile_id in earlier.tile_ids()
        }
    except CorruptObjectError as err:
        return Verdict(name, False, str(err))
    ids = {row["tile_id"] for row in rows}
    budget, shortfall = int(manifest.recipe.config["budget"]), manifest.facts["shortfall"]
    groups = {
        "most_per_drop": [row["drop"] for row in rows],
        "most_per_camera": [name_camera(row["drop"], row["path"]) for row in rows],
    }
    same_rows = _list_as_then(rows, tiles, manifest.recipe)
    if manifest.recipe.config.get("most_per_class"):
        places = ([row[key] for row in same_rows] for key in ("drop", "tile_id"))
        classes = read_paths_and_classes(tiles, *places)[1]
        groups["most_per_class"] = [each for each in classes if each is not None]
    for setting, names in groups.items():
        most, counts = manifest.recipe.config.get(setting), Counter(names)
        if most and (full := [each for each, count in counts.items() if count > most]):
            count = counts[full[0]]
            return Verdict(name, False, f"{count} tiles of {full[0]}, but only {most} are allowed")
    if len(rows) != budget and not shortfall:
        return Verdict(
            name, False, f"{len(rows)} tiles, but the budget is {budget}, and no reason is recorded"
        )
    if len(rows) != len(ids):
        return Verdict(name, False, f"{len(rows) - len(ids)} tiles are picked twice")
    if same_ground := _find_same_ground(same_rows, tiles, manifest.recipe):
        return Verdict(name, False, f"{' and '.join(same_ground)} show the same ground")
    now, left_out = hash_inputs(embeddings), manifest.facts.get("left_out", {})
    pool: set[str] = set()
    chosen_from: set[str] = set()
    for of_drop, part in embeddings.parts(["tile_id"]):
        pool.update(part["tile_id"].to_pylist())
        if of_drop.recipe.output.drop in named.keys() - left_out.keys():
            chosen_from.update(part["tile_id"].to_pylist())
    gone = [row["drop"] for row in rows if row["tile_id"] not in pool]
    if unexplained := [drop for drop in gone if named.get(drop) == now.get(drop)]:
        return Verdict(name, False, f"{len(unexplained)} picked tiles are not in the pool")
    if repeated := ids & paid:
        return Verdict(name, False, f"{len(repeated)} tiles were already chosen in earlier rounds")
    notes = [shortfall] if shortfall else []
    if short := manifest.facts.get("short_shares"):
        notes.append(short)
    if left_out:
        notes.append(f"{join_names(sorted(left_out))} left out, unreadable when it was chosen")
    if gone:
        notes.append(f"{len(gone)} of its tiles are no longer in the pool")
    sentence = "; ".join([f"{count_of(len(rows), 'tile')} of a pool of {len(chosen_from)}", *notes])
    return Verdict(name, True, sentence, warns=bool(notes))


def _list_as_then(
    rows: Sequence[Mapping[str, str]], tiles: CommittedTable, recipe: Recipe
) -> list[Mapping[str, str]]:
    """List the rows of drops whose tiles were not made again since the round was chosen.

    In other drops, the places on the ground and the classes of a detector may have changed since.
    """
    now = hash_tiles(tiles, sorted({row["drop"] for row in rows} & set(tiles.drops)))
    as_then = {name for name, content in now.items() if recipe.inputs.get(name) == content}
    return [row for row in rows if f"tiles/{row['drop']}" in as_then]


def _find_same_ground(
    rows: Sequence[Mapping[str, str]], tiles: CommittedTable, recipe: Recipe
) -> tuple[str, str] | None:
    """Find two tiles of a round that show the same ground; None if there are none, or if the round allows them."""
    if recipe.config.get("all_windows", True):
        return None
    names = ("drop", "tile_id", "image_id")
    windows = read_windows(tiles, *([row[name] for row in rows] for name in names))
    same = SameGround(windows)
    for number, row in enumerate(rows):
        for other in same.excludes(number):
            return row["tile_id"], rows[other]["tile_id"]
    return None
