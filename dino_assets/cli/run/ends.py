"""Messages at the end of a run: why it failed, what is kept, what to do next."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dino_assets.counting import count_of
from dino_assets.defs.execution import RunEnd
from dino_assets.defs.output_metadata import find_manifest_key
from dino_assets.defs.plans import PlannedRun
from dino_assets.drops.naming import join_names
from dino_assets.errors import CorruptObjectError
from dino_assets.selections.rounds import RoundSettings, number_of
from dino_assets.selections.stage.paid import read_round
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.reading import CommittedTable, open_table
from dino_assets.store.objects import ObjectStore


@dataclass(frozen=True)
class Ui:
    """The UI that shows a run: the command that opens it, and its address."""

    command: str
    url: str


def describe_failed(
    command: str, planned: PlannedRun, end: RunEnd, *, shows_tracebacks: bool, ui: Ui
) -> Iterator[str]:
    """Explain why a run failed, and where its log is."""
    for failure in end.failures:
        step = f"{failure.step}: " if failure.step else ""
        sentence = failure.sentence.removeprefix(f"{planned.drop}: ")
        yield f"{planned.drop or 'the run for all drops'} failed. {step}{sentence}"
        if shows_tracebacks and failure.traceback:
            yield failure.traceback
    if planned.drop and any(failure.step.startswith("images_") for failure in end.failures):
        yield f"look at  {command} drops report {planned.drop}"
    yield from describe_place(ui, end)


def describe_canceled(store: ObjectStore, planned: PlannedRun, end: RunEnd) -> Iterator[str]:
    """Describe what is kept of an interrupted run."""
    finished = end.list_assets()
    outputs = ", ".join(finished) or "no output"
    if planned.drop and "embeddings" in planned.assets and "embeddings" not in finished:
        since = datetime.fromtimestamp(end.started_at, UTC)
        if shards := count_shards(store, planned.drop, since=since):
            outputs += f", and {count_of(shards, 'shard')} of embeddings"
    yield f"Interrupted. Finished and kept: {outputs}. Run {end.run_id} is marked as canceled."


def count_shards(store: ObjectStore, drop: str, *, since: datetime) -> int:
    """Count a drop's shards that were finished since a time, by the store's clock.

    A shard is a piece of the drop's embeddings that is stored as soon as it is computed.
    """
    receipts = store.list("receipts/embeddings")
    return sum(info.key.split("/")[3] == drop and info.modified >= since for info in receipts)


def describe_next(
    command: str, store: ObjectStore, ends: Sequence[RunEnd], *, ui: Ui
) -> Iterator[str]:
    """List the commands for the next steps with the new outputs; each can be pasted into a shell."""
    made = {
        event.asset_key.to_user_string(): find_manifest_key(event.metadata)
        for end in ends
        for event in end.materialised
    }
    if "projections" in made:
        yield f"map      {command} export projections{_space(store, made, 'projections')} --to out/map"
    if "selections" in made:
        rounds = open_table(store, "selections", space=made["selections"].split("/")[2])
        name = rounds.drops[-1]
        space = _space(store, made, "selections")
        yield f"chosen   {command} export selections {name}{space} --to out/round-{number_of(name)}"
        absent = find_not_chosen(rounds, _list_embedded(ends))
        if absent:
            yield f"         no round has a tile of {join_names(absent)} yet; this command chooses some:"
        if more := _suggest_round(rounds, absent):
            yield f"more     {command} {more}"
    elif "embeddings" in made:
        yield f"next     {command} run --select curate"
    yield from describe_place(ui, ends[-1])


def describe_place(ui: Ui, end: RunEnd) -> Iterator[str]:
    """Name the command and the address that show a run with its log."""
    yield f"log      {ui.command}"
    yield f"         {ui.url}/runs/{end.run_id}"


def _space(store: ObjectStore, made: dict[str, str], asset: str) -> str:
    """Write the flag ``--space`` if the asset exists in several spaces; else return an empty text."""
    is_only_space = len(list(list_spaces(store, asset))) < 2
    return "" if is_only_space else f" --space {made[asset].split('/')[2]}"


def _list_embedded(ends: Sequence[RunEnd]) -> set[str]:
    """List the drops for which these runs made or reused embeddings."""
    return {
        str(event.partition)
        for end in ends
        for event in end.materialised
        if event.asset_key.to_user_string() == "embeddings"
        and event.metadata["dagster/row_count"].value
    }


def find_not_chosen(rounds: CommittedTable, drops: Collection[str]) -> list[str]:
    """Find the drops without a tile in any round of a space; return no drop if a round cannot be read."""
    chosen: set[str] = set()
    for name in reversed(rounds.drops):  # most likely the newest round has them
        if chosen.issuperset(drops):
            break
        try:
            chosen.update(read_round(rounds, name, ["drop"])["drop"].to_pylist())
        except CorruptObjectError:
            return []  # `dino-assets verify` reports the damage; the run itself succeeded
    return sorted(set(drops) - chosen)


def _suggest_round(rounds: CommittedTable, absent: Collection[str]) -> str:
    """Write the command for the next round; empty if no tile is left.

    If some drops are absent from every round, the command chooses from these drops.
    """
    last = rounds.drops[-1]
    if absent:
        some = "".join(f" --drop {name}" for name in absent)
        return f"select --round {number_of(last) + 1}{some}"
    facts = rounds.manifest(last).facts
    closed = int(facts.get("ground_taken", 0))  # some rounds have no such fact
    left = int(facts["pool"]) - int(facts["paid_before"]) - int(facts["picked"]) - closed
    few = "" if left >= RoundSettings().budget else f" --budget {left}"
    return f"select --round {number_of(last) + 1}{few}" if left > 0 else ""
