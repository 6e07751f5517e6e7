"""The command ``drops list``: all drops, their assets, failed checks, and files that arrived later."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import name_command, say, write_out
from dino_assets.counting import count_of
from dino_assets.drops.records import Drop
from dino_assets.settings.records import Settings
from dino_assets.weights.records import facts_of_caveat

if TYPE_CHECKING:
    from dino_assets.drops.changes import SourceChanges
    from dino_assets.drops.listing import AssetState
    from dino_assets.store.objects import ObjectStore


def list_drops(options: argparse.Namespace, settings: Settings) -> int:
    """Print a line per drop, with problems below it, or print everything as JSON.

    Return the exit status, which is 1 if a drop's record is damaged.
    """
    from dino_assets.drops.listing import describe_drops
    from dino_assets.drops.registry import find_drops
    from dino_assets.store.commits.digests import collecting_later
    from dino_assets.store.objects import describe_missing_store

    store = open_store_here(settings, may_be_new=True)
    # Listing a bucket is slow, so both calls run at the same time.
    with collecting_later(), ThreadPoolExecutor(1) as pool:
        finding = pool.submit(find_drops, store)
        describe = describe_drops(store)
        drops = finding.result()
        states_of = {name: describe(drop) for name, drop in drops.items() if isinstance(drop, Drop)}
    empty = _find_empty(drops.values(), states_of, settings)
    late, unseen = _find_late(store, drops.values(), states_of, settings)
    rows: list[dict[str, Any]] = []
    for name, drop in drops.items():
        if not isinstance(drop, Drop):
            rows.append({"name": name, "error": str(drop)})
            if not options.json:
                say(f"{name:<24} {drop}")
            continue
        states = states_of[name]
        failures = _find_failures(states)
        assets: dict[str, dict[str, Any]] = {
            s.asset: {"state": s.state, "rows": s.rows, "follows": s.follows}
            | facts_of_caveat(s.caveat)
            | ({"failed": failures[s.asset]} if s.asset in failures else {})
            for s in states
        }
        rows.append(vars(drop) | {"assets": assets} | _describe_files(name, empty, late))
        if not options.json:
            _show(drop, states, failures, is_empty=name in empty, late=late.get(name))
    if options.json:
        write_out(json.dumps(rows, indent=1))
    elif unseen:
        subject = f"{count_of(unseen, 'drop')} {'was' if unseen == 1 else 'were'}"
        say(
            f"{subject} not checked for new files, since that takes too long here. To check all: "
            f"{name_command()} doctor"
        )
    elif not drops:
        absence = "" if store.is_there else f" {describe_missing_store(store)}"
        say(
            f"no drops yet.{absence} Process a first one with: {name_command()} run NAME --from FOLDER"
        )
    return int(any(not isinstance(drop, Drop) for drop in drops.values()))


def _find_empty(
    drops: Iterable[Drop | Exception],
    states: Mapping[str, Sequence["AssetState"]],
    settings: Settings,
) -> set[str]:
    """Find the drops whose source holds no photographs, among the drops without any asset."""
    from dino_assets.drops.examination import find_empty

    waiting = [
        drop
        for drop in drops
        if isinstance(drop, Drop)
        and not drop.is_retired
        and all(each.state == "absent" for each in states[drop.name])
    ]
    return find_empty(waiting, root=settings.root)


def _find_late(
    store: "ObjectStore",
    drops: Iterable[Drop | Exception],
    states: Mapping[str, Sequence["AssetState"]],
    settings: Settings,
) -> tuple[dict[str, "SourceChanges"], int]:
    """Find photographs that arrived after a drop's images were made; also count the drops not checked."""
    from dino_assets.drops.examination import find_late

    made = {
        drop: state.manifest
        for drop in drops
        if isinstance(drop, Drop) and not drop.is_retired
        for state in states[drop.name]
        if state.asset == "images" and state.manifest
    }
    return find_late(store, made, root=settings.root)


def _describe_files(
    name: str, empty: set[str], late: Mapping[str, "SourceChanges"]
) -> dict[str, Any]:
    """Describe for ``--json`` that a drop is empty, or which files arrived late; else return no facts."""
    if name in empty:
        return {"is_empty": True}
    if (changes := late.get(name)) is None:
        return {}
    counts = {"came": len(changes.came), "replaced": len(changes.changed)}
    return {"late": {**counts, "first": (*changes.came, *changes.changed)[0]}}


def _find_failures(states: Sequence["AssetState"]) -> dict[str, str]:
    """Find a drop's assets that fail their check or cannot be made, each with the reason."""
    from dino_assets.images.stage.judging import judge_cuttable, judge_usable

    of = {state.asset: state for state in states}
    verdicts = {}
    if images := of["images"].manifest:
        verdicts["images"] = judge_usable(images)
        if of["tiles"].state == "absent" and verdicts["images"].passed:
            verdicts["tiles"] = judge_cuttable(images)
    return {asset: verdict.sentence for asset, verdict in verdicts.items() if not verdict.passed}


def _show(
    drop: Drop,
    states: Sequence["AssetState"],
    failures: dict[str, str],
    *,
    is_empty: bool,
    late: "SourceChanges | None",
) -> None:
    marks = [f"(from {drop.original_name!r})"] * (drop.original_name != drop.name)
    marks += ["(holds no photographs)"] * is_empty
    marks += ["(boxes)"] * bool(drop.boxes)
    marks += ["(retired)"] * drop.is_retired + [f"#{tag}" for tag in drop.tags]
    made = "  ".join(f"{state}{' (failed)' * (state.asset in failures)}" for state in states)
    say(" ".join([f"{drop.name:<24} {made:<44} {drop.source}", *marks]))
    for asset, sentence in failures.items():
        say(f"  {asset} failed: {sentence}. No further assets of this drop are made")
        say(f"  details: {name_command()} drops report {drop.name}")
    if late:
        say(f"  {late.describe_new()}")
        is_registered = drop.fingerprint == late.fingerprint
        verb = "run" if is_registered else "drops register"
        say(f"  to include the new files: {name_command()} {verb} {drop.name}")
    if is_empty:
        say("  holds no photographs: check that the disk or card is mounted")
        say(f"  or retire the drop: {name_command()} drops retire {drop.name}")
