"""Commands for checkpoints: ``fetch``, ``import``, ``samples checkpoint``."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from dino_assets.cli.terminal import say, showing_progress, write_out
from dino_assets.errors import ConfigError
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path, resolve_path
from dino_assets.weights.catalogue import DEFAULT_TEACHER, full_name
from dino_assets.weights.records import Checkpoint, StatisticsName

_PLAIN = ("model", "pytorch_model", "weights", "checkpoint")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands ``fetch``, ``import`` and ``samples checkpoint``."""
    fetch = commands.add_parser(
        "fetch", help="fetch a checkpoint from the Hugging Face Hub to this machine"
    )
    add_fetch_arguments(fetch)

    bring = commands.add_parser(
        "import",
        help="convert a weights file of timm or Meta, or a folder with one, to a checkpoint folder",
    )
    bring.add_argument(
        "source",
        metavar="SOURCE",
        help="a .safetensors file of timm, a .pth file of Meta, or a folder",
    )
    bring.add_argument(
        "--to", metavar="FOLDER", help="where to write the checkpoint (default: models/NAME)"
    )
    bring.add_argument(
        "--statistics",
        choices=get_args(StatisticsName),
        help="mean and standard deviation that pixels are normalised with, if the source has none or "
        "wrong ones",
    )
    bring.add_argument(
        "--replace",
        action="store_true",
        help="replace an existing checkpoint in FOLDER (default: no)",
    )
    bring.set_defaults(run=_import)
    samples = commands.add_parser(
        "samples", help="write sample files, to try the package"
    ).add_subparsers(required=True, metavar="WHAT")
    checkpoint = samples.add_parser(
        "checkpoint",
        help="write a small checkpoint with random weights, to try the commands; its results mean nothing",
    )
    checkpoint.add_argument(
        "folder",
        nargs="?",
        default="models/demo",
        metavar="FOLDER",
        help="where to write it (default: models/demo)",
    )
    checkpoint.set_defaults(run=_checkpoint)


def add_fetch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``dino-assets fetch`` and ``dinov3-fetcher``."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help='a JSON file that names folder and model: {"train": {"dino_root": FOLDER, "dino_model": NAME}}',
    )
    parser.add_argument(
        "--model", metavar="NAME", help="a Hub repository, or a short name such as dinov3-vitl16"
    )
    parser.add_argument(
        "--to",
        metavar="FOLDER",
        help="where to write the checkpoint (default: the folder in --config, else the Hub's cache)",
    )
    parser.add_argument(
        "--revision",
        metavar="REVISION",
        help="a branch, a tag or a commit (default: DINO_MODEL_REVISION for the configured model, else main)",
    )
    parser.set_defaults(run=_fetch)


def run_fetcher(options: argparse.Namespace, settings: Settings) -> int:
    """Run ``dinov3-fetcher``.

    Without ``--config`` and ``--to`` it reads ``config.json``. With ``--to`` alone it fetches
    ``DEFAULT_TEACHER``.
    """
    if options.config is None and options.to is None:
        options.config = "config.json"
    if options.model is None and options.config is None:
        options.model = DEFAULT_TEACHER
    return _fetch(options, settings)


def _fetch(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.api.fetcher import FetcherConfig
    from dino_assets.weights.architecture import check_config
    from dino_assets.weights.fetching import fetch_checkpoint, read_located
    from dino_assets.weights.hub.filling import Watch
    from dino_assets.weights.hub.locating import locate_checkpoint

    for name in ("model", "revision"):  # a script's variable that is not set, most likely
        if getattr(options, name) == "":
            raise ConfigError(f"--{name} is empty. Leave it out, or give a value.")
    config = None if options.config is None else FetcherConfig.read(_read_path(options, "config"))
    folder = config.dino_root if config else None
    if options.to is not None:
        folder = _read_path(options, "to")
    model = options.model or (config.dino_model if config else settings.model)
    is_configured = full_name(model) == full_name(settings.model)
    revision = options.revision or (settings.model_revision if is_configured else None)
    with showing_progress(model) as progress:
        if folder:
            checkpoint = fetch_checkpoint(
                model, folder, root=settings.root, revision=revision, progress=progress
            )
        else:
            watch = Watch(progress, check_early=lambda new: check_config(new, model))
            located = locate_checkpoint(model, root=settings.root, revision=revision, watch=watch)
            folder = located.bring()
            checkpoint = read_located(located, folder)
    origin = f"{checkpoint.repo}@{checkpoint.commit}" if checkpoint.commit else checkpoint.model
    say(_describe(checkpoint, origin))
    write_out(str(folder.absolute()))
    return 0


def _import(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.weights.importing.writing import import_checkpoint

    source = _read_path(options, "source")
    if options.to is None:
        folder = settings.root / "models" / _name_import(source)
    else:
        folder = _straighten(_read_path(options, "to"))
    done = import_checkpoint(
        source, folder, statistics=options.statistics, replaces=options.replace
    )
    say(f"{_describe(done.checkpoint, done.format)} ({done.seconds:.1f} s)")
    say(f"pixels are normalised with the statistics of {done.checkpoint.statistics_from}")
    for reason in sorted(set(done.leftovers.values())):
        names = [name for name, why in done.leftovers.items() if why == reason]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        say(f"left out: {names[0]!r}{more}: {reason}")
    for warning in done.warnings:
        say(f"warning: {warning}", to=sys.stderr)
    say(f"Use it with DINO_MODEL_ID={_within(folder, settings.root)}")
    return 0


def _name_import(source: Path) -> str:
    """Name an import after its source; for a file with a common name such as ``model``, after its folder."""
    path = resolve_path(source)
    return path.name if path.is_dir() else path.parent.name if path.stem in _PLAIN else path.stem


def _describe(checkpoint: Checkpoint, origin: str) -> str:
    return (
        f"{origin}: {checkpoint.family}, {checkpoint.dim} dims, {checkpoint.layers} layers, "
        f"{checkpoint.parameters:,} parameters, licence {checkpoint.licence or 'unknown'}"
    )


def _read_path(options: argparse.Namespace, name: str) -> Path:
    text = str(getattr(options, name))
    if not text.strip():
        shown = f"--{name}" if name in ("to", "config") else name.upper()
        kind = {"config": "file", "source": "file or folder"}.get(name, "folder")
        raise ConfigError(f"{shown} has no value: name a {kind}.")
    return expand_path(text)


def _straighten(path: Path) -> Path:
    """Resolve ``..`` and links in a path that contains ``..``; return any other path unchanged."""
    return resolve_path(path) if ".." in path.parts else path


def _within(folder: Path, root: Path) -> Path:
    whole = folder.absolute()
    return whole.relative_to(root) if whole.is_relative_to(root) else whole


def _checkpoint(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.demo.checkpoint import find_or_write_demo_checkpoint

    folder = _straighten(_read_path(options, "folder")).absolute()
    find_or_write_demo_checkpoint(folder)
    named = _within(folder, settings.root)
    say(
        f"{named}: a checkpoint with random weights, to try the commands; its results mean nothing. Use it "
        f"with DINO_MODEL_ID={named}"
    )
    return 0
