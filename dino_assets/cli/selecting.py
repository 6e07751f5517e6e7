"""The command ``select``: a round of tiles worth labelling, or rows of a file of embeddings."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.cli.flags import add_flags
from dino_assets.cli.registering import find_drop_name, open_store_here
from dino_assets.cli.terminal import name_command, say, write_json
from dino_assets.cli.ui_events import report_round
from dino_assets.compute.settings import ComputeSettings
from dino_assets.counting import count_of
from dino_assets.errors import ConfigError
from dino_assets.selections.rounds import RoundSettings
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path

if TYPE_CHECKING:
    from dino_assets.selections.choosing import Selection

_COLUMNS = ("rank", "row", "id", "reason", "cluster", "distance")
_NO_SETTINGS = ("run", "file", "to", "json")
# The settings that have a meaning for a file of embeddings, which is neither a round nor in the store.
_OF_FILES = ("budget", "strategy", "n_clusters", "fps_ratio", "seed")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``select``."""
    choose = commands.add_parser(
        "select",
        help="choose a round of tiles worth labelling, from all drops or some",
        description=(
            "Choose a round of tiles worth labelling. The strategies: herding takes tiles one after the "
            "other; each represents as many tiles as possible that are not yet represented. fps takes the "
            "farthest tile (most unlike the tiles chosen so far), so it finds rare objects and outliers "
            "first. herding+swaps begins with herding, and exchanges tiles for others as long as that represents "
            "all tiles better. herding+fps takes half by herding and half by fps. medoids is herding with plain "
            "distances. cluster groups similar tiles and takes the most central tiles (typical) of each "
            "group. hybrid takes central and farthest tiles of each group. random takes tiles at random. "
            "uncertainty takes tiles about which the probe is uncertain and that are unlike the tiles chosen "
            "so far; it needs `probe train` first. "
            "If several tiles show the same ground, only one is chosen, in all rounds together. With "
            "--share and --example, a part "
            "of the tiles are those most similar to the examples of a class; the strategy chooses the rest. "
            "With a FILE of embeddings, rows "
            "of that file are chosen, and nothing is stored."
        ),
        # An option that is not given gets its default from the stage, as in the asset.
        argument_default=argparse.SUPPRESS,
    )
    choose.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="Choose rows of this file: .npy (N, D), or .npz or .parquet as `embed` writes it",
    )
    add_flags(choose, RoundSettings)
    choose.add_argument(
        "-n", dest="budget", type=int, metavar="N", help="The same as --budget (default: 20)"
    )
    choose.add_argument(
        "--to",
        metavar="FILE.csv",
        help="With FILE: write the chosen rows into a table (default: no table)",
    )
    choose.add_argument(
        "--tile-px",
        type=int,
        metavar="N",
        help="Side of the tiles whose embeddings are used, in pixels (default: 518 for DINOv2, 512 for "
        "DINOv3)",
    )
    choose.add_argument(
        "--replace",
        action="store_true",
        help="Choose the latest committed round again (default: committed rounds never change)",
    )
    choose.add_argument(
        "--json", action="store_true", help="With FILE: print JSON, for programs (default: no)"
    )
    choose.set_defaults(run=_select)


def _select(options: argparse.Namespace, settings: Settings) -> int:
    given = vars(options)  # an option that is not given is not there
    values = {name: value for name, value in given.items() if name not in _NO_SETTINGS}
    if "file" in given:
        return _select_rows(
            expand_path(options.file), values, to=given.get("to"), as_json="json" in given
        )
    for name in ("to", "json"):
        if name in given:
            raise ConfigError(
                f"--{name} is for rows of a file. `{name_command()} rounds --json` lists rounds, and "
                f"`{name_command()} export selections` writes them",
                setting=name,
            )
    return _select_round(values, settings)


def _select_rows(file: Path, values: dict[str, Any], *, to: str | None, as_json: bool) -> int:
    """Choose rows of a file of embeddings; print them, and write them to a table if asked."""
    import numpy as np

    from dino_assets.api.vector_files import read_vectors
    from dino_assets.numerics.neighbours import scale_to_unit
    from dino_assets.selections.choosing import select
    from dino_assets.selections.rounds import make_settings
    from dino_assets.store.targets import write_csv

    if other := sorted(values.keys() - set(_OF_FILES)):
        raise ConfigError(
            f"{file} is a file of embeddings, and {', '.join(other)} is for rounds of the store. With a file, "
            f"use only {', '.join(_OF_FILES)}",
            setting=other[0],
            value=values[other[0]],
        )
    settings = make_settings(**values)
    table = read_vectors(file)
    selection = select(
        scale_to_unit(table.vectors),
        budget=settings.budget,
        strategy=settings.strategy,
        n_clusters=settings.n_clusters,
        fps_ratio=settings.fps_ratio,
        rng=np.random.default_rng(settings.seed),
    )
    rows, shortfall = _describe_rows(selection, table.ids), ""
    if len(rows) < settings.budget:
        has = count_of(len(table.ids), "row")
        shortfall = f"{settings.budget} were asked for and {len(rows)} chosen: the file has {has}"
    if to is not None:
        write_csv(expand_path(to), _COLUMNS, rows)
    if as_json:
        write_json({"rows": rows, "of": len(table.ids), "shortfall": shortfall})
        return 0
    for row in rows:
        distance = "" if row["distance"] is None else f"{row['distance']:.4f}"
        say(
            f"{row['rank']:4d}  row {row['row']:<7d} {row['reason']:<15} {distance:<7} {row['id']}".rstrip()
        )
    say(f"{count_of(len(rows), 'row')} of {len(table.ids):,} chosen by {settings.strategy}")
    if shortfall:
        say(shortfall)
    if to is not None:
        say(f"table {to}")
    return 0


def _describe_rows(selection: "Selection", ids: list[str]) -> list[dict[str, Any]]:
    chosen = zip(selection.indices.tolist(), selection.reasons, strict=True)
    return [
        dict(zip(_COLUMNS, (rank, row, ids[row], *reason[:3]), strict=True))
        for rank, (row, reason) in enumerate(chosen, start=1)
    ]


def _select_round(values: dict[str, Any], settings: Settings) -> int:
    from dino_assets.compute.devices import resolve_compute
    from dino_assets.drops.registry import DropReader
    from dino_assets.drops.sources.opening import open_source
    from dino_assets.drops.sources.source import Source
    from dino_assets.embeddings.stage.queries import SpaceEncoders
    from dino_assets.labels.stage.reading import list_labelled
    from dino_assets.probes.stage.class_examples import list_prototype_names, with_prototypes
    from dino_assets.probes.stage.uncertainties import read_uncertainties
    from dino_assets.selections.rounds import make_settings
    from dino_assets.selections.stage.describing import describe_round
    from dino_assets.selections.stage.examples import make_reader
    from dino_assets.selections.stage.opening import open_round
    from dino_assets.settings.hub import find_engine_cache
    from dino_assets.store.commits.reading import SpacedTable, open_table
    from dino_assets.store.commits.writing import commit
    from dino_assets.weights.stage import explain_other_model, load_checkpoint

    tile_px, may_replace = values.pop("tile_px", 0), values.pop("replace", False)
    prototypes: frozenset[str] = frozenset()
    if "shares" in values:
        prototypes = list_prototype_names(open_store_here(settings, may_be_new=True))
    round_settings = make_settings(prototypes=prototypes, **values)
    store = open_store_here(settings)
    round_settings = replace(
        round_settings, drops=tuple(find_drop_name(store, name) for name in round_settings.drops)
    )

    read_drop = DropReader(store)

    def open_drop(name: str) -> Source:
        return open_source(read_drop(name).source, root=settings.root)

    compute = ComputeSettings(device=settings.device)  # type: ignore[arg-type]
    encoders = SpaceEncoders(
        store, lambda: resolve_compute(compute), find_engine_cache(settings.root)
    )
    checkpoint = load_checkpoint(store)
    opened = open_round(
        SpacedTable(store, "embeddings"),
        open_table(store, "tiles"),
        checkpoint,
        ComputeSettings(),  # a space does not depend on the device; looking for one would load torch
        round_settings,
        open_source=open_drop,
        tile_px=tile_px,
        may_replace=may_replace,
        read_example=with_prototypes(make_reader(encoders, Path())),
        labelled=list_labelled(store),
        read_uncertainties=read_uncertainties,
    )
    if opened.has_other_settings:
        raise ConfigError(f"{opened.notice} To choose this round again, add --replace.")
    if warning := explain_other_model(
        store, settings.model, settings.model_revision, root=settings.root
    ):
        say(f"WARNING: {warning}", to=sys.stderr)
    committed = commit(store, opened.draft)
    unmade = {"unmade": list(opened.unmade)} if opened.unmade else {}
    report_round(settings, store, committed, metadata=unmade)
    for line in describe_round(
        store,
        committed,
        model=checkpoint.model,
        open_source=open_drop,
        registered=opened.unmade,
        command=name_command(),
    ):
        say(line)
    if opened.notice:
        say(opened.notice)
    elif may_replace and committed.was_reused:
        say("the pool and the settings are unchanged, so the new round equals the old one")
    if shortfall := committed.manifest.facts["shortfall"]:
        say(f"{opened.draft.recipe.output.drop} has fewer tiles than its budget: {shortfall}")
    return 0
