"""The command ``export-model``: models for ONNX Runtime, Triton and LibTorch."""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.cli.flags import add_flags
from dino_assets.cli.terminal import say, showing_progress, write_out
from dino_assets.errors import ConfigError
from dino_assets.exports.settings import ExportSettings, make_settings
from dino_assets.settings.described import list_settings
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.store.targets import explaining
from dino_assets.weights.catalogue import full_name

if TYPE_CHECKING:
    from dino_assets.exports.onnx import Exported


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``export-model``."""
    export = commands.add_parser(
        "export-model",
        help="write a model as ONNX, for programs without Python or PyTorch",
        description=(
            "Write a model as ONNX. It has one input, pixel_values, of any batch size and one image size. It "
            "has one output, last_hidden_state: CLS, registers, patches. Before the file is put into FOLDER, "
            "its outputs are compared with those of the same model in the library transformers. The folder "
            "also gets licence, model card, statistics, and manifest.json with the sha256 of each file. Keep "
            "model.onnx and model.onnx.data together. An earlier export in FOLDER is replaced; other files "
            "are not touched."
        ),
        argument_default=argparse.SUPPRESS,
    )
    export.add_argument(
        "model",
        nargs="?",
        default="",
        metavar="MODEL",
        help="a folder, a Hub repository, or a short name such as dinov2-small (default: DINO_MODEL_ID)",
    )
    export.add_argument(
        "--to",
        default=None,
        metavar="FOLDER",
        help="where to write the export; needed if --triton is not given. The folder is created if it is "
        "missing, and never left half written",
    )
    export.add_argument(
        "--triton",
        default=None,
        metavar="REPOSITORY",
        help="a Triton model repository, in which the model gets its own folder",
    )
    export.add_argument(
        "--triton-device",
        choices=("gpu", "cpu"),
        default="gpu",
        help="where Triton runs the model: on GPU 0 with TensorRT, or on the CPU (default: gpu)",
    )
    export.add_argument(
        "--revision",
        default="",
        metavar="REVISION",
        help="a branch, a tag or a commit of the model",
    )
    add_flags(export, ExportSettings)
    export.add_argument(
        "--torchscript",
        action="store_true",
        default=False,
        help="also write model.pt, for LibTorch and for Triton's PyTorch backend",
    )
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
    folder, repository = _read_folder(options, "to"), _read_folder(options, "triton")
    if not folder and not repository:
        raise ConfigError(
            "There is no place to write to: name a folder with --to or --triton.", setting="to"
        )
    # All checks that may fail come before weights are fetched.
    check_packages()
    if folder:
        check_place(folder)
    started = time.monotonic()
    name = options.model or settings.model
    is_configured = full_name(name) == full_name(settings.model)
    revision = options.revision or (settings.model_revision if is_configured else None)
    with showing_progress(name) as progress:
        model = find_model(name, revision=revision, progress=progress)
    wanted.fit(model.checkpoint)

    def fill(new: Path) -> "Exported":
        return export_onnx(
            model.folder,
            model.checkpoint,
            wanted,
            new,
            with_torchscript=options.torchscript,
            say=lambda line: say(line, to=sys.stderr),
        )

    with ExitStack() as leaving:
        if folder:
            exported = fill_folder(folder, fill)
        else:
            folder = _make_aside(repository, leaving)
            exported = fill(folder)
        models = _write_models(folder, exported.manifest, options)
    for warning in exported.warnings:
        say(f"warning: {warning}", to=sys.stderr)
    places = [str(folder)] * bool(options.to) + [str(place) for place in models]
    seconds = time.monotonic() - started
    if options.json:
        about = {"folders": places, "seconds": round(seconds, 1), **exported.manifest}
        write_out(json.dumps(about, ensure_ascii=False))
    else:
        say(_describe(exported.manifest, seconds))
        for place in places:
            write_out(place)
    return 0


def _read_folder(options: argparse.Namespace, name: str) -> Path | None:
    text = getattr(options, name)
    if text is None:
        return None
    if not text.strip():  # a script's variable that is not set, most likely
        raise ConfigError(f"--{name} is empty: name a folder.", setting=name)
    return expand_path(text).absolute()


def _make_aside(repository: Path | None, leaving: ExitStack) -> Path:
    """Make a temporary folder beside ``repository``, on the same disk; it is deleted when ``leaving`` closes."""
    assert repository is not None
    with explaining(repository):
        repository.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(prefix=".export-", dir=repository.parent)
    return Path(leaving.enter_context(aside))


def _write_models(
    exported: Path, manifest: dict[str, Any], options: argparse.Namespace
) -> list[Path]:
    from dino_assets.exports.graph import GRAPH
    from dino_assets.exports.placing import fill_folder
    from dino_assets.exports.torchscript import SCRIPT
    from dino_assets.exports.triton import fill_model, name_model

    places: list[Path] = []
    device, repository = options.triton_device, _read_folder(options, "triton")
    for file in (GRAPH, SCRIPT):
        if repository and file in manifest["files"]:
            place = repository / name_model(manifest, file=file)
            fill_folder(place, partial(fill_model, exported, manifest, file=file, device=device))
            places.append(place)
    return places


def _describe(manifest: dict[str, Any], seconds: float) -> str:
    size = sum(file["bytes"] for file in manifest["files"].values())
    check, shape = manifest["check"], manifest["output"]["shape"]
    return (
        f"{Path(manifest['model']['model']).name}: {manifest['side_px']} px, opset {manifest['opset']}, "
        f"output [{', '.join(map(str, shape))}], {size / 1e6:.1f} MB, {seconds:.1f} s; largest difference "
        f"from transformers {check['largest_difference']:.1e}, over {check['tiles']} tiles"
    )
