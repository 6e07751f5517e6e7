"""The command ``embed``: embed any pictures into a file, without a project."""

import argparse
import contextlib
import json
import logging
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dino_assets.cli.terminal import say, showing_log, write_out
from dino_assets.compute.settings import PrecisionClass
from dino_assets.errors import ConfigError, SourceError, UnusableImageError
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.weights.catalogue import full_name

if TYPE_CHECKING:
    from dino_assets.api.extractor import DINOv2Extractor
    from dino_assets.api.image_files import ImageFiles

PARTLY = 3  # exit code: the file is written, without some pictures
_LINES_EVERY_S = 10.0
_SHOWN_LEFT_OUT = 20
_HELP = """
    Embed whole pictures, each scaled to a square. Write a file with an id and a vector for each picture.

    SOURCE is a folder (with its sub-folders), a .csv with the column image_path, a .txt with one path
    per line, or a picture. The id of a picture is its path in the folder, or the path in the list. If
    several SOURCEs are given, the id of a picture in a folder begins with that folder.
"""
_EXAMPLES = """
    examples:
      dino-assets embed photos -o photos.parquet
      dino-assets embed list.csv -o list.pt --model dinov2-small
      dino-assets embed a.jpg b.jpg -o two.npz --json

    The files can be read without this package:
      pandas.read_parquet("photos.parquet")                  columns image_id, embedding
      torch.load("list.pt", weights_only=True)["embeddings"]
      numpy.load("two.npz")["embeddings"]

    exit code: 0 every picture is embedded; 3 the file is written, but some pictures were unusable
    (listed on stderr, and with --json in "left_out"); 1 an error, or no picture was usable: no file is
    written; 2 wrong usage; 130 interrupted: no file is written
"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``embed``."""
    embed = commands.add_parser(
        "embed",
        help="embed pictures into a .parquet, .pt or .npz file",
        description=textwrap.dedent(_HELP),
        epilog=textwrap.dedent(_EXAMPLES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    embed.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a folder, a .csv or .txt list, or a picture"
    )
    embed.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="the file to write; its suffix gives the format: .parquet, .pt or .npz",
    )
    embed.add_argument(
        "--model",
        metavar="NAME",
        help="a folder, a Hub repository, or a short name such as dinov2-small (default: DINO_MODEL_ID, "
        "else facebook/dinov2-base)",
    )
    embed.add_argument(
        "--revision", metavar="REVISION", help="a branch, a tag or a commit of the model"
    )
    embed.add_argument(
        "--device",
        metavar="NAME",
        help="cpu, cuda, cuda:1, mps (default: DINO_DEVICE, else the best device)",
    )
    embed.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="pictures per model call on a GPU (default: 32)",
    )
    embed.add_argument(
        "--workers",
        type=int,
        default=4,
        metavar="N",
        help="threads that read pictures (default: 4)",
    )
    embed.add_argument(
        "--pattern",
        action="append",
        metavar="GLOB",
        help="names of the pictures to take from folders, such as '*.jpg', in upper or lower case; may be "
        "repeated (default: every kind of picture)",
    )
    embed.add_argument(
        "--column",
        default="image_path",
        metavar="NAME",
        help="column of a .csv that has the paths (default: image_path)",
    )
    embed.add_argument(
        "--image-size",
        type=int,
        default=224,
        metavar="N",
        help="side of the square in pixels (default: 224)",
    )
    embed.add_argument(
        "--precision",
        choices=get_args(PrecisionClass),
        default="half",
        help="half: the fastest engine whose vectors agree with full precision; fp32: full precision "
        "(default: half)",
    )
    embed.add_argument(
        "--cache",
        metavar="FOLDER",
        help="keep vectors in a folder; a repeated command computes only those that are missing",
    )
    embed.add_argument("--json", action="store_true", help="print a summary as one JSON object")
    embed.set_defaults(run=_embed)


def _embed(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.api.embedding_files import check_target
    from dino_assets.api.large_sets import write_embeddings

    for name in ("output", "model", "revision", "device", "cache"):
        if getattr(options, name) == "":  # a script's variable that is not set, most likely
            raise ConfigError(f"--{name} is empty. Leave it out, or give a value.", setting=name)
    check_target(options.output)
    files = _find_files(options.sources, options.pattern, options.column)
    started = time.monotonic()
    left_out: list[dict[str, str]] = []
    pace = _Pace(len(files))
    extractor = _open_extractor(options, settings, left_out, pace)
    try:
        with showing_log("dino_assets.embeddings.encoder", _EngineLines()):
            rows = write_embeddings(files, options.output, extractor=extractor)
    except KeyboardInterrupt:
        advice = (
            "The cache is kept: run the command again to continue."
            if options.cache
            else "With --cache, an interrupted command can be continued."
        )
        say(f"Interrupted; {options.output!r} was not written. {advice}", to=sys.stderr)
        return 130
    finally:
        _say_left_out(left_out)
    seconds = time.monotonic() - started
    about = extractor.describe()
    if options.json:
        summary = {
            "output": options.output,
            "images": len(files),
            "embedded": rows,
            "left_out": left_out,
            "model": extractor.model_name,
            **about,
            "seconds": round(seconds, 3),
            "images_per_s": round(pace.per_s, 2),
        }
        write_out(json.dumps(summary, ensure_ascii=False))
    else:
        engine = f", {about['engine']}" if "engine" in about else ""
        rate = f" ({pace.per_s:.1f} images/s)" if pace.per_s else ""  # 0 for a single picture
        say(
            f"{options.output}: {rows} of {len(files)} images, {about['dim']} dims{engine}, "
            f"{seconds:.1f} s{rate}"
        )
    return PARTLY if left_out else 0


def _find_files(
    sources: Sequence[str], patterns: Sequence[str] | None, column: str
) -> "ImageFiles":
    from dino_assets.api import image_files

    ids: list[str] = []
    paths: list[str] = []
    for source in sources:
        path = expand_path(source)
        if path.is_dir():
            files = image_files.find_in_directory(source, patterns or image_files.ALL_IMAGES)
            above = f"{source.rstrip('/')}/" if len(sources) > 1 else ""
            ids += [above + each for each in files.ids]
        elif not path.exists():
            raise SourceError(
                f"there is no file or folder {source!r}", reason="missing", path=source
            )
        else:
            files = image_files.find_images(source, image_col=column)
            ids += files.ids
        paths += files.paths
    return image_files.ImageFiles(ids, paths)


def _open_extractor(
    options: argparse.Namespace,
    settings: Settings,
    left_out: list[dict[str, str]],
    pace: "_Pace",
) -> "DINOv2Extractor":
    from dino_assets.api.cached_extractor import CachedExtractor
    from dino_assets.api.extractor import DINOv2Extractor

    class ReportingExtractor(DINOv2Extractor):
        """Extractor that lists unusable pictures, and prints progress lines if there is no terminal."""

        def leave_out(self, image_id: str, refusal: UnusableImageError) -> None:
            left_out.append(
                {"image_id": image_id, "reason": refusal.reason, "detail": refusal.detail}
            )

        @contextlib.contextmanager
        def showing_progress(self, total: int) -> Iterator[Callable[[], object]]:
            with super().showing_progress(total) as show:  # a bar, on a terminal

                def count() -> None:
                    show()
                    line = pace.count()
                    if line and not sys.stderr.isatty():
                        say(line, to=sys.stderr)

                yield count

    class CachedReportingExtractor(ReportingExtractor, CachedExtractor):
        """A reporting extractor with a cache."""

    model = options.model or settings.model
    is_configured = full_name(model) == full_name(settings.model)
    arguments: dict[str, Any] = {
        "model_name": model,
        "device": options.device or settings.device,
        "batch_size": options.batch_size,
        "num_workers": options.workers,
        "precision": options.precision,
        "image_size": options.image_size,
        "revision": options.revision or (settings.model_revision if is_configured else None),
    }
    if options.cache:
        return CachedReportingExtractor(cache_dir=Path(options.cache), **arguments)
    return ReportingExtractor(**arguments)


class _EngineLines(logging.Handler):
    """Prints the log lines of converting and checking an engine, which a machine's first call does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print an INFO record above the progress bar; other handlers print warnings."""
        from tqdm import tqdm

        if record.levelno == logging.INFO:
            tqdm.write(record.getMessage(), file=sys.stderr)


class _Pace:
    """Speed from the first picture on: the time before it does not count, as an engine may be built then."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self._first_s = self._last_s = self._printed_s = 0.0

    @property
    def per_s(self) -> float:
        """Pictures per second; 0 until two pictures are done."""
        spent_s = self._last_s - self._first_s
        return (self.done - 1) / spent_s if self.done > 1 and spent_s > 0 else 0.0

    def count(self) -> str:
        """Count a picture; return a progress line every 10 s, else an empty text."""
        self._last_s = time.monotonic()
        self.done += 1
        if self.done == 1:
            self._first_s = self._printed_s = self._last_s
        if self._last_s - self._printed_s < _LINES_EVERY_S or self.done == self.total:
            return ""
        self._printed_s = self._last_s
        left_s = (self.total - self.done) / self.per_s
        return f"{self.done} of {self.total} images, {self.per_s:.1f}/s, about {left_s:.0f} s left"


def _say_left_out(left_out: Sequence[dict[str, str]]) -> None:
    for each in left_out[:_SHOWN_LEFT_OUT]:
        say("left out: {image_id}: {reason}: {detail}".format(**each), to=sys.stderr)
    if len(left_out) > _SHOWN_LEFT_OUT:
        say(f"left out: {len(left_out) - _SHOWN_LEFT_OUT} more; --json lists all", to=sys.stderr)
