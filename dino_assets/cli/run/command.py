"""Arguments of the command ``run``, and checks before anything is run."""

import argparse
from collections.abc import Sequence

from dino_assets.cli.registering import find_or_register, open_store_here
from dino_assets.cli.run.config import RunConfig, configure_asset, read_config
from dino_assets.cli.run.printer import Printer
from dino_assets.cli.terminal import name_command, quote_words
from dino_assets.errors import DinoAssetsError
from dino_assets.settings.records import Settings
from dino_assets.store.commits.catalogue import LINEAGE, RUNNABLE, assets_of_job

EVERYTHING = ("*", "lineage")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``run``."""
    run = commands.add_parser(
        "run",
        help="make all assets of a drop, from photographs to tiles worth labelling",
        description=(
            "Make the assets of drops: images, tiles, embeddings, then the map and a round of tiles. The "
            "runs are shown here and in the UI. Finished work is reused. Each drop has its own run; map and "
            "round are made in one last run. Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted."
        ),
    )
    run.add_argument(
        "names", nargs="*", metavar="NAME", help="drops; new ones are registered first"
    )
    run.add_argument(
        "--from",
        dest="source",
        metavar="PATH|CSV|URL",
        help="where the photographs of a new drop are (default: the folder NAME in the inbox)",
    )
    run.add_argument(
        "--replace",
        action="store_true",
        help="accept another source for a registered drop, because its photographs were moved there "
        "(default: no)",
    )
    run.add_argument(
        "--select",
        type=read_selection,
        default=list(LINEAGE),
        metavar="ASSETS",
        help=f"assets to make: some of {','.join(RUNNABLE)}, or a job: ingest, curate, learn (default: "
        "ingest,curate)",
    )
    run.add_argument(
        "--config",
        type=read_config,
        default=RunConfig(),
        metavar="FILE",
        help="a file with run config as in the UI's launchpad, YAML or JSON (default: none)",
    )
    run.add_argument(
        "--accept-weights",
        action="store_true",
        help="accept a model whose weights differ from those in the store (default: refuse it)",
    )
    run.add_argument("--debug", action="store_true", help="show tracebacks (default: no)")
    run.set_defaults(run=_run, refuse=run.error)


def read_selection(text: str) -> list[str]:
    """Read names of assets and jobs, separated by commas; return assets in the order of the lineage.

    Raises:
        ArgumentTypeError: a word is neither an asset nor a job.
    """
    wanted: set[str] = set()
    for word in text.split(","):
        names = LINEAGE if word in EVERYTHING else assets_of_job(word) or (word,)
        if set(names) & set(assets_of_job("deploy")):
            raise argparse.ArgumentTypeError(
                f"{word!r} is not made by this command: export the model with `dino-assets export-model`, "
                "or with the job 'deploy' in the UI"
            )
        if unknown := set(names).difference(RUNNABLE):
            raise argparse.ArgumentTypeError(
                f"{unknown.pop()!r} is neither an asset ({', '.join(RUNNABLE)}) nor a job (ingest, "
                "curate, learn, lineage)"
            )
        wanted.update(names)
    return [name for name in RUNNABLE if name in wanted]


def _run(options: argparse.Namespace, settings: Settings) -> int:
    _check_usage(options)
    printer = Printer(shows_tracebacks=options.debug)
    try:
        return _register_and_run(options, settings, printer)
    except (DinoAssetsError, OSError):
        printer.show_traceback()
        raise
    except Exception as err:  # noqa: BLE001 - such as a full disk with Dagster's database
        from dino_assets.defs.failures import advise

        printer.show_traceback()
        printer.complain(advise(type(err).__name__, str(err)))
        return 1
    finally:
        printer.live.clear()


def _check_usage(options: argparse.Namespace) -> None:
    from dino_assets.defs.plans import needs_drops

    if needs_drops(options.select) and not options.names:
        options.refuse("name the drops to run, or choose --select curate or --select learn")
    if options.names and not needs_drops(options.select):
        options.refuse(
            f"{' and '.join(options.select)}: made from all drops together, so name no drops here "
            "(`dino-assets select --drop` chooses tiles of some drops)"
        )
    if options.source and len(options.names) != 1:
        options.refuse("--from is the source of one drop: name exactly one drop")


def _register_and_run(options: argparse.Namespace, settings: Settings, printer: Printer) -> int:
    printer.live.show("getting ready …")
    from dino_assets.cli.run.executing import RequestedRuns, find_config_fault, run_planned
    from dino_assets.definitions import make_definitions
    from dino_assets.defs.plans import plan_runs
    from dino_assets.drops.duplicates import warn_of_duplicates

    definitions = make_definitions(settings)
    config = options.config.values
    if options.accept_weights:
        config = configure_asset(config, "weights", {"accept_changes": True})
    # All checks that may fail come before a drop is registered.
    trial = plan_runs(options.names, options.select)
    if fault := find_config_fault(definitions, trial, config):
        printer.live.clear()
        flag = "--config" if options.config.path else "--accept-weights"
        options.refuse(f"argument {flag}: {fault}")
    drops: list[str] = []
    for name in options.names:
        registered = find_or_register(
            settings, name, source=options.source, may_replace=options.replace
        )
        drop = registered.drop
        if registered.is_new:
            printer.say(f"{drop.name}: registered, {drop.source}")
            if registered.doubt:
                printer.say(f"note: {registered.doubt}")
            if warning := warn_of_duplicates(open_store_here(settings), drop):
                printer.say(f"note: {warning}")
        if drop.name not in drops:
            drops.append(drop.name)
    command = name_command()
    requested = RequestedRuns(
        command=command,
        again=f"{command} {_word_again(options, drops)}",
        plan=plan_runs(drops, options.select),
        config=config,
    )
    return run_planned(requested, settings, definitions, printer)


def _word_again(options: argparse.Namespace, drops: Sequence[str]) -> str:
    """Write the arguments that repeat the command, without ``--from``: its drops are registered by now."""
    words = ["run", *drops]
    if options.select != list(LINEAGE):
        jobs = [
            job
            for job in ("ingest", "curate", "learn")
            if options.select == list(assets_of_job(job))
        ]
        words += ["--select", *(jobs or [",".join(options.select)])]
    if options.accept_weights:
        words += ["--accept-weights"]
    if options.config.path:
        words += ["--config", options.config.path]
    return quote_words(words)
