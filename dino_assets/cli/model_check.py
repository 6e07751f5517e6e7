"""The command ``check-model``: compare a model file with the checkpoint that it was made from."""

import argparse
import json
import sys
import textwrap
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dino_assets.cli.terminal import LiveLine, say, showing_progress, write_out
from dino_assets.compute.settings import PrecisionClass
from dino_assets.errors import ConfigError
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.weights.catalogue import full_name

if TYPE_CHECKING:
    from dino_assets.embeddings.checking.report import ModelReport

WRONG = 3  # exit code: the model is not what it should be
_HELP = """
    Compute the outputs for a few drawn pictures twice: with a model file, and with the checkpoint that the
    file was made from (in PyTorch, float32). If the outputs differ, print what is wrong and what to do.

    FILE is an .onnx, an OpenVINO .xml, or a Hugging Face folder. Without --reference, a folder is compared
    with its own weights: that shows errors in its config and in its processor file.
"""
_EXAMPLES = """
    examples:
      dino-assets check-model model.onnx --reference facebook/dinov2-small
      dino-assets check-model export/model.xml --reference models/dinov3-vits16 --json
      dino-assets check-model models/dinov2-small

    faults that it finds: order, range and statistics of pixels, turned pictures, RoPE, position
    embeddings, registers, pooling, LayerNorm's epsilon, overflow, too few bits, image sizes that are
    declared but do not work, and more; up to three faults at a time

    exit code: 0 the model agrees; 3 the model is wrong, and its faults are listed; 1 the model could not
    be checked; 2 wrong usage
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``check-model``."""
    check = commands.add_parser(
        "check-model",
        help="compare an ONNX, OpenVINO or Hugging Face model with its checkpoint",
        description=textwrap.dedent(_HELP),
        epilog=textwrap.dedent(_EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("model", metavar="FILE|DIR", help="the model to check")
    check.add_argument(
        "--reference",
        metavar="NAME",
        help="the checkpoint that it was made from: a folder, a Hub repository or a short name "
        "(default: DINO_MODEL_ID; for a Hugging Face folder, the folder itself)",
    )
    check.add_argument(
        "--precision",
        choices=get_args(PrecisionClass),
        default="half",
        help="how close the outputs must be; half allows the differences that one space allows (default: "
        "half)",
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.api.models import find_model
    from dino_assets.compute.devices import available_cpus
    from dino_assets.embeddings.checking.checking import check_model
    from dino_assets.embeddings.checking.opening import open_candidate
    from dino_assets.embeddings.checking.reference import ReferenceModel

    for name in ("model", "reference"):
        if getattr(options, name) == "":  # a script's variable that is not set, most likely
            raise ConfigError(f"{name} is empty. Give a value.", setting=name, value="")
    started = time.monotonic()
    path = expand_path(options.model)
    candidate = open_candidate(path, threads=available_cpus())
    reference, revision = _choose_reference(options.reference, path, settings)
    with showing_progress(reference) as progress:
        model = find_model(reference, revision=revision, progress=progress)
    line = LiveLine(sys.stderr)
    report = check_model(
        candidate,
        model.folder,
        ReferenceModel(model.folder, model.checkpoint),
        file=options.model,
        say=line.show if line.is_possible else lambda text: say(text, to=sys.stderr),
    )
    line.clear()
    passed = report.passed and (options.precision == "half" or report.grade == "fp32")
    if options.json:
        write_out(json.dumps(_to_json(report, passed, time.monotonic() - started)))
    else:
        for text in _spell(report, options.precision, passed):
            say(text)
    return 0 if passed else WRONG


def _choose_reference(named: str | None, path: Path, settings: Settings) -> tuple[str, str | None]:
    from dino_assets.embeddings.checking.opening import is_checkpoint

    if named is None and is_checkpoint(path):
        return str(path), None
    reference = named or settings.model
    is_configured = full_name(reference) == full_name(settings.model)
    return reference, settings.model_revision if is_configured else None


def _spell(report: "ModelReport", precision: PrecisionClass, passed: bool) -> list[str]:
    outputs = "; ".join(f"{name}: {words}" for name, words in report.outputs.items())
    pixels = f", pixels {report.pixels}" if report.pixels not in ("", "bytes") else ""
    lines = [
        f"{report.file}: {report.kind}",
        f"  input    {report.takes}{pixels}",
        f"  output   {outputs or 'none that looks like tokens'}",
        f"  compared with {report.reference}, PyTorch in float32",
    ]
    for size in report.sizes:
        closeness = {"fp32": "as close as float32", "half": "as close as half precision"}
        lines.append(
            f"  {size.height}×{size.width} px, {size.run}: cosine {size.cosine:.7f}, centred "
            f"{size.centred:.6f} over {size.tiles} tiles, "
            f"{closeness.get(size.grade or '', 'not close enough')}"
        )
    lines += [f"  note: {note}" for note in report.notes]
    for each in report.faults:
        lines += [f"WRONG  {each.fault.name}: {each}", f"       {each.fault.advice}"]
    if passed:
        lines.append("passed: the model can replace its reference")
    elif report.passed:
        lines.append(
            f"WRONG  the outputs are only as close as half precision; --precision {precision} asks for more"
        )
    return lines


def _to_json(report: "ModelReport", passed: bool, seconds: float) -> dict[str, Any]:
    return {
        "file": report.file,
        "kind": report.kind,
        "reference": report.reference,
        "takes": report.takes,
        "pixels": report.pixels,
        "outputs": report.outputs,
        "passed": passed,
        "grade": report.grade,
        "faults": [
            {
                "name": each.fault.name,
                "what": each.fault.sentence,
                "form": each.words,
                "advice": each.fault.advice,
            }
            for each in report.faults
        ],
        "notes": list(report.notes),
        "sizes": [asdict(size) for size in report.sizes],
        "seconds": round(seconds, 1),
    }
