"""Check of a committed round."""

from dino_assets.counting import count_of
from dino_assets.drops.naming import join_names
from dino_assets.embeddings.stage.pool import hash_inputs
from dino_assets.errors import CorruptObjectError
from dino_assets.selections.stage.paid import find_paid, read_round
from dino_assets.store.commits.reading import CommittedTable
from dino_assets.verdicts import Verdict


def judge_selections(rounds: CommittedTable, embeddings: CommittedTable, name: str) -> Verdict:
    """Check that a round has as many tiles as its budget, each once, in the pool and not chosen before.

    A round with fewer tiles passes with a warning if the reason is recorded. A tile that has left the pool
    because its drop was embedded again or is gone is only a warning, too.
    """
    manifest = rounds.manifest(name)
    named = manifest.recipe.inputs
    try:
        rows = read_round(rounds, name, ["tile_id", "drop"]).to_pylist()
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
    if len(rows) != budget and not shortfall:
        return Verdict(
            name, False, f"{len(rows)} tiles, but the budget is {budget}, and no reason is recorded"
        )
    if len(rows) != len(ids):
        return Verdict(name, False, f"{len(rows) - len(ids)} tiles are picked twice")
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
    if left_out:
        notes.append(f"{join_names(sorted(left_out))} left out, unreadable when it was chosen")
    if gone:
        notes.append(f"{len(gone)} of its tiles are no longer in the pool")
    sentence = "; ".join([f"{count_of(len(rows), 'tile')} of a pool of {len(chosen_from)}", *notes])
    return Verdict(name, True, sentence, warns=bool(notes))
