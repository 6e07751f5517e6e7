"""The command ``attention``: pictures of a model's attention and of similar patches."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dino_assets.cli.attention_jobs import AttentionJob, find_references, plan_jobs
from dino_assets.cli.terminal import LiveLine, say, showing_progress, write_out
from dino_assets.errors import ConfigError, DinoAssetsError, public_name
from dino_assets.settings.records import Settings
from dino_assets.weights.catalogue import full_name

if TYPE_CHECKING:
    from dino_assets.api.patch_references import Debias
    from dino_assets.api.patch_visualizer import PatchView, PatchVisualizer

VIEWS = ("attention", "heads", "pca", "similarity", "features")
FOREGROUND = ("auto", "above", "below")
# The views that each flag can be used with.
_VIEWS_OF_FLAG = {
    "head": ("attention",),
    "point": ("similarity",),
    "foreground": ("pca",),
    "debias": ("pca", "similarity", "features"),
}
EXAMPLES = """\
views:
  attention   attention of the CLS token to each patch, drawn over the photograph
  heads       the same, for every head of the layer
  pca         the first three principal components of the patch features as colours; several
              photographs share one basis, so a colour means the same in all of them
  similarity  a page where a click on a patch shows similar patches (-o NAME.html, or a folder);
              with --point, a picture of the patches that are similar to the one at that point
  features    the patch features as numbers, .npz or .pt

examples:
  dino-assets attention DJI_0018.JPG -o attention.png
  dino-assets attention flight/*.JPG -o out/attention --head all
  dino-assets attention DJI_0018.JPG --view similarity -o where-else.html --debias noise
  dino-assets attention DJI_0018.JPG --view similarity --point 1200,800 -o like-this.png
  dino-assets attention flight/*.JPG --view pca -o components.png

exit codes: 0 all files are written; 1 an error, or some photographs failed and the files of the others
are written; 2 wrong usage
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``attention``."""
    parser = commands.add_parser(
        "attention",
        help="show a model's attention in a photograph, or patches with similar vectors",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="photographs of any size")
    parser.add_argument(
        "-o",
        "--output",
        default="out",
        metavar="FILE|DIR",
        help="a file, whose suffix gives the format, or a folder (default: out)",
    )
    parser.add_argument(
        "--view", choices=VIEWS, default="attention", help="what to draw (default: attention)"
    )
    parser.add_argument(
        "--layer",
        type=int,
        default=-1,
        metavar="N",
        help="layer of the model, from 0; negative numbers count from the last (default: -1)",
    )
    parser.add_argument(
        "--head",
        type=parse_head,
        metavar="N|all",
        help="one head, or all heads side by side (default: the mean of the heads)",
    )
    parser.add_argument(
        "--point",
        type=parse_point,
        metavar="X,Y",
        help="for similarity: a point of the upright photograph, in pixels from the upper left corner "
        "(default: none)",
    )
    parser.add_argument(
        "--debias",
        metavar="noise|blank|DIR",
        help="subtract from the features the part that depends only on a patch's position; it is measured "
        "on noise, on blank pictures or on the photographs in a folder (default: no)",
    )
    parser.add_argument(
        "--foreground",
        choices=FOREGROUND,
        help="for pca: show only patches whose first component is above its mean, or only patches below it; "
        "auto chooses the side with fewer patches at the pictures' edges (default: show all patches)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a folder, a Hub repository or a short name (default: DINO_MODEL_ID)",
    )
    parser.add_argument(
        "--device", metavar="WORD", help="auto, cpu, cuda, cuda:1, mps (default: DINO_DEVICE)"
    )
    parser.add_argument(
        "--max-px",
        type=int,
        metavar="N",
        help="longer side of the picture that the model sees, in pixels (default: 1024)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the results as JSON, a list of objects"
    )
    parser.set_defaults(run=_attention)


def parse_head(text: str) -> int | str:
    """Read a head's number, or ``all``."""
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a head: expected a number or 'all'"
        ) from None


def parse_point(text: str) -> tuple[float, float]:
    """Read a point: two numbers with a comma between."""
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a point: expected two numbers, such as 1200,800"
        ) from None
    return x, y


def _attention(options: argparse.Namespace, settings: Settings) -> int:
    if options.head == "all" and options.view == "attention":
        options.view, options.head = "heads", None
    for flag, views in _VIEWS_OF_FLAG.items():
        if getattr(options, flag) is not None and options.view not in views:
            raise ConfigError(
                f"--{flag} cannot be used with --view {options.view}, only with --view {' or '.join(views)}",
                setting=flag,
                value=getattr(options, flag),
            )
    ending = _name_ending(options)
    joins = options.view == "pca"
    jobs = plan_jobs(options.images, options.output, ending=ending, joins=joins)
    debias, line = find_references(options.debias), LiveLine(sys.stderr)
    draw = _choose_view(options, _open(options, settings), debias=debias, line=line)
    rows: list[dict[str, Any]] = []
    has_failed = False
    for number, job in enumerate(jobs, 1):
        shown, begun = job.name, time.monotonic()
        line.show(f"{number} of {len(jobs)}: {shown}")
        try:
            view = draw(job)
        except DinoAssetsError as err:
            line.clear()
            has_failed = True
            name = public_name(err)
            rows.append({"inputs": job.images, "error": name, "message": str(err)})
            say(f"{name}: {shown}: {err}", to=sys.stderr)
            continue
        line.clear()
        has_failed |= bool(view.facts.get("left_out"))
        rows.append(
            {"inputs": job.images, "output": str(view.path), "view": view.view} | view.facts
        )
        if not options.json:
            say(f"{shown}: {view.path} ({time.monotonic() - begun:.1f} s)")
    if options.json:
        write_out(json.dumps(rows, indent=1))
    return int(has_failed)


def _name_ending(options: argparse.Namespace) -> str:
    """Make the ending of an output file's name from the view, the layer and the head."""
    head = "" if options.head is None else f"-head{options.head}"
    layer = "" if options.layer == -1 else f"-layer{options.layer}"
    is_page = options.view == "similarity" and options.point is None
    suffix = ".npz" if options.view == "features" else ".html" if is_page else ".png"
    return f".{options.view}{layer}{head}{suffix}"


def _open(options: argparse.Namespace, settings: Settings) -> "PatchVisualizer":
    from dino_assets.api.models import resolve_devices
    from dino_assets.api.patch_visualizer import PatchVisualizer
    from dino_assets.embeddings.attention.grid import MAX_PX

    device = options.device or settings.device
    resolve_devices(
        device, precision="fp32", batch_size=1
    )  # fails if this machine does not have the named device
    model = options.model or settings.model
    is_configured = full_name(model) == full_name(settings.model)
    with showing_progress(model) as progress:
        return PatchVisualizer(
            model,
            device,
            max_px=MAX_PX if options.max_px is None else options.max_px,
            revision=settings.model_revision if is_configured else None,
            progress=progress,
        )


def _choose_view(
    options: argparse.Namespace,
    visualizer: "PatchVisualizer",
    *,
    debias: "Debias | None",
    line: LiveLine,
) -> "Callable[[AttentionJob], PatchView]":
    """Return a function that draws the requested view and writes it to an ``AttentionJob``'s file."""
    layer = options.layer

    def draw(job: AttentionJob) -> "PatchView":
        image, target = job.images[0], job.target
        match options.view:
            case "attention":
                return visualizer.visualize_attention(image, target, layer, options.head)
            case "heads":
                return visualizer.visualize_heads(image, target, layer)
            case "pca":
                return visualizer.visualize_pca(
                    job.images,
                    target,
                    layer,
                    foreground=options.foreground,
                    debias=debias,
                    progress=lambda done, total: line.show(f"{done + 1} of {total} photographs"),
                )
            case "similarity":
                return visualizer.visualize_similarity(
                    image, target, options.point, layer, debias=debias
                )
            case _:
                return visualizer.save_patch_features(image, target, layer, debias=debias)

    return draw
