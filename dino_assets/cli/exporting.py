"""Models for other runtimes."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from dino_assets.cli.flags import add_flags
from dino_assets.cli.terminal import say, showing_progress, write_out
from dino_assets.errors import ConfigError
from dino_assets.exports.settings import ExportSettings, make_settings
from dino_assets.settings.described import list_settings
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.weights.catalogue import full_name


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``export-model``."""
    export = commands.add_parser(
        "export-model",
        help="write a model as ONNX, for programs that know neither Python nor PyTorch",
        description=(
            "Write a model as ONNX: one input pixel_values, one output last_hidden_state (CLS, "
            "registers, patches), any batch, one side. The file is held against transformers' own model "
            "before it is there. Beside it: licence, model card, statistics, and manifest.json with the "
            "sha256 of each file. model.onnx and model.onnx.data belong together. An earlier export in "
            "FOLDER is replaced, nothing else is."
        ),
        argument_default=argparse.SUPPRESS,
    )
    export.add_argument(
        "model",
        nargs="?",
        default="",
        metavar="MODEL",
        help="a folder, a Hub repository, or a short name such as dinov2-small; default: DINO_MODEL_ID",
    )
    export.add_argument(
        "--to", required=True, metavar="FOLDER", help="made if it is not there, whole or not at all"
    )
    export.add_argument(
        "--revision",
        default="",
        metavar="REVISION",
        help="a branch, a tag or a commit of the model",
    )
    add_flags(export, ExportSettings)
    export.add_argument(
        "--json", action="store_true", default=False, help="print manifest.json and the folder"
    )
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.api.models import find_model
    from dino_assets.exports.graph import check_packages
    from dino_assets.exports.onnx import export_onnx
    from dino_assets.exports.placing import check_place, fill_folder

    names = [setting.name for setting in list_settings(ExportSettings)]
    wanted = make_settings(**{n: getattr(options, n) for n in names if hasattr(options, n)})
    if not options.to.strip():  # a script's variable that is not set, most likely
        raise ConfigError("--to is empty: name a folder.", setting="to")
    folder = expand_path(options.to).absolute()
    # Whatever can be refused is, before weights are fetched.
    check_packages()
    check_place(folder)
    started = time.monotonic()
    name = options.model or settings.model
    is_configured = full_name(name) == full_name(settings.model)
    revision = options.revision or (settings.model_revision if is_configured else None)
    with showing_progress(name) as progress:
        model = find_model(name, revision=revision, progress=progress)
    wanted.fit(model.checkpoint)
    exported = fill_folder(
        folder,
        lambda new: export_onnx(
            model.folder, model.checkpoint, wanted, new, say=lambda line: say(line, to=sys.stderr)
        ),
    )
    for warning in exported.warnings:
        say(f"mind: {warning}", to=sys.stderr)
    seconds = time.monotonic() - started
    if options.json:
        about = {"folder": str(folder), "seconds": round(seconds, 1), **exported.manifest}
        write_out(json.dumps(about, ensure_ascii=False))
    else:
        say(_describe(exported.manifest, seconds))
        write_out(str(folder))
    return 0


def _describe(manifest: dict[str, Any], seconds: float) -> str:
    size = sum(file["bytes"] for file in manifest["files"].values())
    check, shape = manifest["check"], manifest["output"]["shape"]
    return (
        f"{Path(manifest['model']['model']).name}: {manifest['side_px']} px, opset {manifest['opset']}, "
        f"output [{', '.join(map(str, shape))}], {size / 1e6:.1f} MB, {seconds:.1f} s; at most "
        f"{check['largest_difference']:.1e} from transformers over {check['tiles']} tiles"
    )
