"""The command ``status``: what is set up, what exists, and what to do next."""

import argparse
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from dino_assets.cli.flags import add_json
from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import name_command, say, write_json
from dino_assets.counting import count_of
from dino_assets.drops.records import Drop
from dino_assets.errors import ConfigError
from dino_assets.settings.records import Settings

if TYPE_CHECKING:
    from dino_assets.store.commits.protocol import Manifest
    from dino_assets.store.objects import ObjectStore

_MOST_NAMES = 5


@dataclass(frozen=True)
class ProjectStatus:
    """What a project has: its settings, and counts of what is in its store."""

    folder: str
    store: str
    model: str
    drops: int
    unfinished: tuple[str, ...]  # drops with an asset that is missing or old
    unreadable: tuple[str, ...]  # drops whose record is damaged
    tiles: int
    embedded: int
    mapped: int
    rounds: int
    selected: int
    last_round: str
    labels: int
    unmerged: int  # objects with answers, if the labels are older than the newest of them
    next: str  # the command to run next


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``status``."""
    status = commands.add_parser(
        "status",
        help="show what is set up, what exists, and what to do next",
        description="Show what is set up, what exists, and what to do next. `dino-assets` alone prints the "
        "same.",
    )
    add_json(status)
    status.set_defaults(run=show_status)


def introduce(options: argparse.Namespace, settings: Settings) -> int:
    """Print the status and how to get help; outside a project, print how to begin instead of the status."""
    command = name_command()
    try:
        show_status(options, settings)
    except ConfigError as err:
        if err.reason != "no-project":
            raise
        say(str(err))
    say(f"help     {command} --help, or {command} COMMAND --help")
    return 0


def show_status(options: argparse.Namespace, settings: Settings) -> int:
    """Print the status of the project, as lines or as JSON."""
    status = read_status(open_store_here(settings, may_be_new=True), settings)
    if getattr(options, "json", False):
        write_json(asdict(status))
        return 0
    for name, sentence in _describe(status):
        say(f"{name:<8} {sentence}")
    say(f"next     {status.next}")
    return 0


def read_status(store: "ObjectStore", settings: Settings) -> ProjectStatus:
    """Count what the store has, from manifests and records; no table is read.

    Raises:
        CorruptObjectError: a manifest is damaged.
    """
    from dino_assets.drops.listing import describe_drops
    from dino_assets.drops.registry import find_drops
    from dino_assets.labels.stage.answers import count_objects

    records = find_drops(store)
    describe = describe_drops(store)
    drops = {
        name: describe(drop)
        for name, drop in records.items()
        if isinstance(drop, Drop) and not drop.is_retired
    }
    unfinished = tuple(
        name for name, states in drops.items() if any(each.state != "made" for each in states)
    )
    rows = {
        asset: sum(each.rows for states in drops.values() for each in states if each.asset == asset)
        for asset in ("tiles", "embeddings")
    }
    # Once there are embeddings of the current weights, maps and rounds of other weights do not count.
    spaces = {
        each.manifest.recipe.output.space
        for states in drops.values()
        for each in states
        if each.asset == "embeddings" and each.state == "made" and each.manifest
    }
    maps = _list_manifests(store, "projections", spaces)
    labels = _list_manifests(store, "labels", ())
    unmerged = count_objects(store) - sum(int(each.facts["answer_objects"]) for each in labels)
    rounds = _list_manifests(store, "selections", spaces)
    last_round = str(rounds[-1].recipe.output.drop) if rounds else ""
    return ProjectStatus(
        folder=str(settings.root),
        store=settings.storage.url,
        model=settings.model,
        drops=len(drops),
        unfinished=unfinished,
        unreadable=tuple(name for name, drop in records.items() if not isinstance(drop, Drop)),
        tiles=rows["tiles"],
        embedded=rows["embeddings"],
        mapped=max((each.rows for each in maps), default=0),
        rounds=len(rounds),
        selected=sum(each.rows for each in rounds),
        last_round=last_round,
        labels=sum(each.rows for each in labels),
        unmerged=unmerged,
        next=_choose_next(
            len(drops),
            unfinished,
            is_mapped=bool(maps),
            last_round=last_round,
            is_labelled=bool(labels),
            has_new_answers=unmerged > 0,
        ),
    )


def _list_manifests(
    store: "ObjectStore", asset: str, spaces: Collection[str | None]
) -> "list[Manifest]":
    """List an asset's manifests in ``spaces``, sorted by name; if there are none, those in every space."""
    from dino_assets.store.commits.listing import list_spaces
    from dino_assets.store.commits.manifests import list_manifests

    every = list_spaces(store, asset)
    chosen = [space for space in every if space in spaces] or every
    manifests = [each for space in chosen for each in list_manifests(store, asset, space)]
    return sorted(manifests, key=lambda each: str(each.recipe.output.drop))


def _choose_next(
    drops: int,
    unfinished: Sequence[str],
    *,
    is_mapped: bool,
    last_round: str,
    is_labelled: bool,
    has_new_answers: bool,
) -> str:
    command = name_command()
    if not drops:
        return f"{command} run NAME --from FOLDER   (or {command} demo, to try it)"
    if unfinished:
        return f"{command} run {unfinished[0]}"
    if not (is_mapped and last_round):
        return f"{command} run --select curate"
    if has_new_answers:
        return f"{command} run --select learn"
    if is_labelled:
        return f"{command} select --round {int(last_round.rpartition('-')[2]) + 1}"
    return f"{command} studio   (or {command} export selections {last_round} --to out/{last_round})"


def _describe(status: ProjectStatus) -> list[tuple[str, str]]:
    drops = count_of(status.drops, "drop")
    if status.unfinished:
        names = ", ".join(status.unfinished[:_MOST_NAMES])
        more = len(status.unfinished) - _MOST_NAMES
        drops += f"; not finished: {names}" + (f" and {more} more" if more > 0 else "")
    if status.unreadable:
        drops += f"; damaged: {', '.join(status.unreadable[:_MOST_NAMES])}"
    return [
        ("project", status.folder),
        ("store", status.store),
        ("model", status.model),
        ("drops", drops),
        ("tiles", f"{status.tiles:,}, {status.embedded:,} with embeddings"),
        ("map", f"{status.mapped:,} tiles" if status.mapped else "not made yet"),
        (
            "rounds",
            f"{status.rounds}, with {count_of(status.selected, 'tile')}; the last is {status.last_round}"
            if status.rounds
            else "none yet",
        ),
        ("labels", _describe_labels(status)),
    ]


def _describe_labels(status: ProjectStatus) -> str:
    if not status.labels and status.unmerged <= 0:
        return "none yet"
    return f"{status.labels:,}" + (
        "; new answers are not merged yet" if status.unmerged > 0 else ""
    )
