"""Commands ``curve`` and ``slices``: what labels are worth by strategy, and where a probe is worse."""

import argparse
import csv
import io
import sys
from typing import TYPE_CHECKING, Any

from dino_assets.cli.flags import add_flags
from dino_assets.cli.registering import find_drop_name, open_store_here
from dino_assets.cli.terminal import name_command, say, write_json
from dino_assets.cli.ui_events import report_curve
from dino_assets.compute.settings import ComputeSettings
from dino_assets.probes.curve_settings import CurveSettings, make_settings
from dino_assets.settings.records import Settings

if TYPE_CHECKING:
    from dino_assets.store.commits.protocol import Manifest
    from dino_assets.store.objects import ObjectStore

_NO_SETTINGS = ("run", "json", "tile_px")
_SHOWN_SLICES = 15


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands ``curve`` and ``slices``."""
    curve = commands.add_parser(
        "curve",
        help="compare strategies by what their labels are worth, and estimate the next 100",
        description=(
            "Replay each strategy inside the labelled tiles, as if their classes were unknown. A quick probe "
            "learns from the tiles that it picks, and its macro accuracy is measured on ground that was held "
            "out. Says which strategies beat random selection, and what the next 100 labels buy and cost. The "
            "result is stored as the asset learning_curve; with equal labels it is read, not computed again."
        ),
        argument_default=argparse.SUPPRESS,
    )
    slices = commands.add_parser(
        "slices",
        help="list groups of labelled tiles in which a probe is worse than elsewhere",
        description=(
            "Rank slices of the labelled tiles, by drop, hour, ground sample distance, camera and cluster, by "
            "the errors of a quick probe. No tile is predicted by a probe that saw its ground. A slice is "
            "marked as worse if chance explains its errors in less than 5 % of cases, for all slices together."
        ),
        argument_default=argparse.SUPPRESS,
    )
    for command, run in ((curve, _show_curve), (slices, _show_slices)):
        add_flags(command, CurveSettings)
        command.add_argument(
            "--tile-px",
            type=int,
            metavar="N",
            help="Side of the tiles whose embeddings are used, in pixels (default: 518 for DINOv2, 512 for "
            "DINOv3)",
        )
        command.add_argument(
            "--json", action="store_true", help="Print JSON, for programs (default: no)"
        )
        command.set_defaults(run=run)


def _show_curve(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.store.commits.reading import open_table

    store, manifest = _make_curve(options, settings)
    facts, space = manifest.facts, manifest.recipe.output.space
    rows = open_table(store, "learning_curve", space=space).read().to_pylist()
    if "json" in options:
        write_json({"points": rows, **facts})
        return 0
    budgets = sorted({row["budget"] for row in rows})
    say(f"{'macro accuracy with':<20}" + "".join(f"{budget:>9,}" for budget in budgets) + " labels")
    for strategy in facts["gains"]:
        means = {row["budget"]: row["mean"] for row in rows if row["strategy"] == strategy}
        say(f"{strategy:<20}" + "".join(f"{means[budget]:>9.1%}" for budget in budgets))
    for line in (*facts["strategies"], facts["next_labels"], facts["next_cost"]):
        say(line)
    _say_more(facts)
    return 0


def _show_slices(options: argparse.Namespace, settings: Settings) -> int:
    store, manifest = _make_curve(options, settings)
    rows = _read_slices(store, manifest)
    if "json" in options:
        write_json({"slices": rows, "labels": manifest.facts["labels"]})
        return 0
    say(f"{'right':>6}  {'95 % interval':<14} {'labels':>6} {'share':>6}  slice")
    for row in rows[:_SHOWN_SLICES]:
        interval = f"{row['low']:.0%} to {row['high']:.0%}"
        mark = "  worse" if row["is_worse"] else ""
        say(
            f"{row['accuracy']:>6.0%}  {interval:<14} {row['labels']:>6,} {row['share']:>6.1%}  "
            f"{row['attribute']}: {row['value']}{mark}"
        )
    if len(rows) > _SHOWN_SLICES:
        say(f"and {len(rows) - _SHOWN_SLICES} more: `{name_command()} slices --json`")
    for line in manifest.facts["slices"]:
        say(line)
    _say_more(manifest.facts)
    return 0


def _say_more(facts: Any) -> None:
    from dino_assets.weights.records import spell_caveat

    if left_out := facts.get("labels_left_out"):
        say(f"{left_out:,} labelled tiles were left out at random, to save time")
    if caveat := facts.get("caveat"):
        say(f"note: {spell_caveat(caveat)}")
    say(f"picture: `{name_command()} export learning_curve --to out`")


def _make_curve(options: argparse.Namespace, settings: Settings) -> "tuple[ObjectStore, Manifest]":
    """Merge the labels, and commit their learning curve, or find the committed one."""
    from dino_assets.embeddings.space import current_space
    from dino_assets.embeddings.stage.pool import choose_pool
    from dino_assets.labels.stage.drafting import draft_labels
    from dino_assets.probes.stage.curve import draft_curve
    from dino_assets.store.commits.reading import open_table
    from dino_assets.store.commits.writing import commit
    from dino_assets.weights.stage import load_checkpoint

    given = {name: value for name, value in vars(options).items() if name not in _NO_SETTINGS}
    store = open_store_here(settings)
    if drops := given.get("drops"):
        given["drops"] = [find_drop_name(store, name) for name in drops]
    curve_settings = make_settings(**given)
    checkpoint = load_checkpoint(store)
    # A space does not depend on the device; looking for one would load torch.
    space = current_space(checkpoint, ComputeSettings(), tile_px=getattr(options, "tile_px", 0))
    embedded = open_table(store, "embeddings", space=space)
    labels = commit(store, draft_labels(store))
    draft = draft_curve(
        choose_pool(embedded, drops=curve_settings.drops, tags=curve_settings.tags),
        open_table(store, "tiles"),
        open_table(store, "images"),
        curve_settings,
        caveat=checkpoint.caveat,
        say=lambda line: say(line, to=sys.stderr),
    )
    committed = commit(store, draft)
    report_curve(settings, store, labels, committed)
    return store, committed.manifest


def _read_slices(store: "ObjectStore", manifest: "Manifest") -> list[dict[str, Any]]:
    from dino_assets.probes.stage.curve import SLICES
    from dino_assets.store.commits.parts import read_part

    (part,) = [part for part in manifest.parts if part.name == SLICES]
    return [
        {
            **{name: row[name] for name in ("attribute", "value")},
            "labels": int(row["labels"]),
            **{name: float(row[name]) for name in ("share", "accuracy", "low", "high", "p")},
            "is_worse": row["is_worse"] == "True",
        }
        for row in csv.DictReader(io.StringIO(read_part(store, part).decode()))
    ]
