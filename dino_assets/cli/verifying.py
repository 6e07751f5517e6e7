"""The command ``verify``: the hashes of everything that is committed, or the links of one round."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from dino_assets.cli.flags import add_json
from dino_assets.cli.registering import open_store_here
from dino_assets.cli.terminal import say, write_json
from dino_assets.counting import count_of
from dino_assets.errors import ConfigError
from dino_assets.settings.records import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dino_assets.selections.stage.links import Link
    from dino_assets.store.commits.protocol import OutputId
    from dino_assets.store.objects import ObjectStore


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``verify``."""
    verify = commands.add_parser(
        "verify",
        help="read everything that is committed and check its hashes, or check where a round comes from",
        description=(
            "Read everything that is committed and check its hashes. With a ROUND, check its receipt instead: "
            "each link from the weights to the vectors of the chosen tiles."
        ),
    )
    verify.add_argument(
        "round", metavar="ROUND", nargs="?", help="a round, such as round-0001 or 1 (default: all)"
    )
    verify.add_argument(
        "--recompute",
        action="store_true",
        help="with ROUND: also read its photographs, embed its tiles and choose it again",
    )
    verify.add_argument(
        "--space",
        metavar="ID",
        help="the space of ROUND, if several spaces have a round of this name",
    )
    verify.add_argument(
        "--repair",
        action="store_true",
        help="remove damaged outputs from the store, so that the next run makes them again",
    )
    add_json(verify)
    verify.set_defaults(run=_verify)


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    if options.round is None:
        for name in ("recompute", "space"):
            if getattr(options, name):
                raise ConfigError(f"--{name} needs a ROUND, such as round-0001", setting=name)
        return _verify_store(options, settings)
    if options.repair:
        raise ConfigError(
            "--repair works on the whole store: omit the round, or omit --repair",
            setting="repair",
        )
    return _verify_round(options, settings)


def _verify_store(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.drops.examination import find_damaged
    from dino_assets.store.upkeep.verifying import verify

    store = open_store_here(settings)
    sentences: list[str] = []
    for fault in (*find_damaged(store), *verify(store, should_repair=options.repair)):
        sentences.append(str(fault))
        if not options.json:
            say(str(fault))
    if options.json:
        write_json({"faults": sentences})
        return int(bool(sentences))
    say(
        count_of(len(sentences), "fault") if sentences else "everything that is committed is intact"
    )
    return int(bool(sentences))


def _verify_round(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.selections.stage.listing import find_round

    store = open_store_here(settings)
    output = find_round(store, options.round, space=options.space)
    links: list[Link] = []
    if not options.json:
        say(f"{output.drop} of space {output.space}")
    for link in _check(store, output, settings, may_recompute=options.recompute):
        links.append(link)
        if not options.json:
            say(f"  {'BROKEN' if link.is_broken else 'holds '}  {link.name:<13}  {link.detail}")
    broken = [link.name for link in links if link.is_broken]
    if options.json:
        write_json(
            {
                "round": output.drop,
                "space": output.space,
                "first_broken": broken[0] if broken else None,
                "links": [asdict(link) for link in links],
            }
        )
    elif broken:
        say(f"the first broken link is {broken[0]}")
    else:
        say(f"{count_of(len(links), 'link')}, and each holds")
    return int(bool(broken))


def _check(
    store: "ObjectStore", output: "OutputId", settings: Settings, *, may_recompute: bool
) -> "Iterator[Link]":
    from dino_assets.selections.stage.links import check_links, read_receipt_of
    from dino_assets.store.commits.manifests import read_manifest

    is_readable = True
    for link in check_links(store, output):
        is_readable &= not (link.is_broken and link.name in ("round", "receipt"))
        yield link
    if not may_recompute or not is_readable:
        return
    from dino_assets.compute.devices import resolve_compute
    from dino_assets.compute.settings import ComputeSettings
    from dino_assets.drops.registry import DropReader
    from dino_assets.drops.sources.opening import open_source
    from dino_assets.selections.stage.recomputing import Recomputing, recompute
    from dino_assets.settings.hub import find_engine_cache

    read_drop = DropReader(store)
    how = Recomputing(
        store,
        lambda name: open_source(read_drop(name).source, root=settings.root),
        resolve_compute(ComputeSettings(device=settings.device)),  # type: ignore[arg-type]
        find_engine_cache(settings.root),
    )
    yield from recompute(how, output, read_receipt_of(store, read_manifest(store, output)))
