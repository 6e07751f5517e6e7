"""A run's log as lines for a terminal: one line per asset, and progress in between."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import dagster as dg

from dino_assets.cli.run.printer import Printer
from dino_assets.cli.terminal import name_command
from dino_assets.counting import count_of
from dino_assets.defs.failures import explain_error
from dino_assets.drawing.lettering import make_printable
from dino_assets.embeddings.run.progress import EVERY_S, FORECAST, show_seconds
from dino_assets.images.report.making import PAGE
from dino_assets.store.commits.catalogue import ASSETS

DOING = {
    "weights": "checking the checkpoint …",
    "images": "reading the photographs …",
    "tiles": "cutting tiles …",
    "embeddings": "loading the model …",
    "projections": "laying out the map …",
    "selections": "choosing tiles …",
    "labels": "merging answers …",
    "probes": "training a probe …",
    "learning_curve": "replaying the strategies …",
    "heat_maps": "drawing heat maps …",
    "label_exports": "writing files for labelling programs …",
    "label_versions": "freezing labels …",
}
DOING_ELSE = "checking the results …"
# If lines cannot be overwritten, progress is printed at growing intervals, up to this one.
LONGEST_PAUSE_S = 30.0
_LOOK_S = 1.0
MAX_FILES_NAMED = 3
# The rest of a line of embeddings, from this text on, is not printed; the run's log has it.
_THREADS = "; read "
_NUMBERS = re.compile(r"[\d.]+")
# The IO manager's log line is not printed: the line for the materialisation says the same.
_COMMITTED = re.compile(r"\S+: (committed|reused), ")


class RunLines:
    """Prints about a dozen lines for one run, from the entries of its log."""

    def __init__(
        self,
        printer: Printer,
        *,
        drop: str | None,
        warned: set[str] | None = None,
        read_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._printer, self._read_clock, self._drop = printer, read_clock, drop
        self._drop, self._prefix = drop, f"{drop}: " if drop else ""
        self._last, self._pause_s = self._read_clock(), EVERY_S
        self._started = self._printed = self._last
        self._step, self._doing = "", "starting …"
        self._waiting = ""  # the last line of progress that was not printed
        self._lock = threading.RLock()
        # Warnings that were printed, in this run or in earlier runs of other drops.
        self._warned = warned if warned is not None else set()
        self._retried: set[tuple[str | None, str]] = set()
        self.caveat = ""

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Print a line for an entry if it matters to a person."""
        with self._lock:
            self._show(entry)

    def beat(self) -> None:
        """Print that the run continues, if lines cannot be overwritten and none came for a while."""
        with self._lock:
            now = self._read_clock()
            if not self._printer.live.is_possible and now - self._printed >= LONGEST_PAUSE_S:
                took = show_seconds(now - self._started)
                self._last = now
                self._say(self._waiting or _line(self._step, f"{self._doing} {took} so far"))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Call ``beat`` every second while the block runs, from a thread; a step may log nothing for long."""
        is_over = threading.Event()

        def look() -> None:
            while not is_over.wait(_LOOK_S):
                with suppress(
                    OSError
                ):  # the terminal or pipe was closed; the run reports it itself
                    self.beat()

        thread = threading.Thread(target=look, name="run-lines", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _say(self, line: str) -> None:
        self._printed, self._waiting = self._read_clock(), ""
        self._printer.say(line)

    def _begin(self, step: str) -> None:
        self._started = self._last = self._read_clock()
        self._pause_s, self._waiting = EVERY_S, ""
        self._step = step if step in ASSETS else ""
        self._doing = DOING.get(step, DOING_ELSE)

    def _show(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            if entry.step_key in ASSETS and not entry.user_message.startswith("Dependencies for"):
                self._show_log(str(entry.step_key), int(entry.level), entry.user_message)
        elif event.event_type == dg.DagsterEventType.STEP_START:
            self._begin(str(event.step_key))
            if self._step:
                self._printer.live.show(_line(self._step, self._doing))
        elif event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            retry = event.step_retry_data
            sentence = explain_error(retry.error, drop=self._drop)
            seconds = describe_seconds(retry.seconds_to_wait or 0)
            line = _line(str(event.step_key), f"{sentence} Trying again in {seconds} …")
            # The same reason is printed once.
            is_new = (event.step_key, sentence) not in self._retried
            (self._say if is_new else self._printer.live.show)(line)
            self._retried.add((event.step_key, sentence))
        elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
            made = event.step_materialization_data.materialization
            metadata = {name: value.value for name, value in made.metadata.items()}
            self.caveat = self.caveat or str(metadata.get("caveat", ""))
            asset = made.asset_key.to_user_string()
            self._say(_line(asset, describe_made(asset, metadata)))
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self._show_check(event.asset_check_evaluation_data)

    def _show_log(self, asset: str, level: int, text: str) -> None:
        if level >= logging.ERROR or _COMMITTED.match(text):
            return  # errors are explained when the run has ended
        text = text.removeprefix(self._prefix).removeprefix(f"{asset}: ")
        if level >= logging.WARNING:
            # A retried step repeats its warnings; only numbers may differ.
            alike = f"{asset}: {_NUMBERS.sub('#', text)}"
            was_retried = any(step == asset for step, _ in self._retried)
            if text in self._warned or (was_retried and alike in self._warned):
                return
            self._warned.update((text, alike))
        if level < logging.WARNING and asset == self._step:
            self._doing = "at work …"  # the first phase, named in DOING, is over
        line = _line(asset, text.partition(_THREADS)[0])
        if level >= logging.WARNING or FORECAST in text:
            self._say(line)
        elif self._printer.live.is_possible:
            self._printer.live.show(line)
        elif self._read_clock() - self._last >= self._pause_s:
            self._last, self._pause_s = self._read_clock(), min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._say(line)
        else:
            self._waiting = line

    def _show_check(self, evaluation: dg.AssetCheckEvaluation) -> None:
        is_error = evaluation.severity == dg.AssetCheckSeverity.ERROR
        # A check that ends the run is explained when the run has ended.
        if not evaluation.passed and not (is_error and evaluation.blocking):
            verb = "fails" if is_error else "warns"
            sentence = str(evaluation.description).removeprefix(self._prefix)
            sentence = sentence.replace(
                f"see {PAGE}", f"see {name_command()} drops report {self._drop}"
            )
            self._say(_line("", f"{evaluation.check_name} {verb}: {sentence}"))
            for line in describe_quarantined(evaluation.metadata, drop=self._drop):
                self._say(_line("", line))


def describe_made(asset: str, metadata: Mapping[str, Any]) -> str:
    """Describe one output: what it is, how many rows it has, and how many seconds it took."""
    rows = int(metadata.get("dagster/row_count", 0))
    size = f"{metadata.get('stored_mb', 0):,.1f} MB"
    words = {
        "weights": f"{metadata.get('model')}, {size}",
        "images": f"{count_of(rows, 'file')}, {metadata.get('usable', 0):,} usable",
        "tiles": count_of(rows, "tile"),
        "embeddings": count_of(rows, "vector"),
        "projections": f"a map of {count_of(rows, 'tile')}",
        "selections": f"{rows:,} of {metadata.get('pool', 0):,} tiles chosen",
        "labels": count_of(rows, "label"),
        "probes": f"classes of {count_of(rows, 'tile')}",
        "learning_curve": count_of(rows, "point"),
        "heat_maps": count_of(rows, "heat map"),
        "label_versions": count_of(rows, "label"),
        "label_exports": f"{count_of(rows, 'tile')}, {metadata.get('labelled', 0):,} labelled",
    }
    what = words.get(asset, count_of(rows, "row"))
    if metadata.get("was_reused"):
        return f"{what}, reused"
    rate = f", {metadata['tiles_per_s']:,.1f} tiles/s" if "tiles_per_s" in metadata else ""
    forecast = metadata.get("forecast_s")
    expected = f", the forecast was {show_seconds(float(forecast))}" if forecast else ""
    return f"{what}, {describe_seconds(float(metadata.get('seconds', 0.0)))}{rate}{expected}"


def describe_quarantined(
    metadata: Mapping[str, dg.MetadataValue], *, drop: str | None
) -> Iterator[str]:
    """Describe the first few files that a check found unusable, and name the command that lists all."""
    rows = metadata.get("quarantined")
    records = rows.records if isinstance(rows, dg.TableMetadataValue) else ()
    for record in records[:MAX_FILES_NAMED]:
        detail = f" ({record.data['detail']})" if record.data.get("detail") else ""
        yield make_printable(f"  {record.data['path']}: {record.data['reason']}{detail}")
    if records:
        more = "the others" if len(records) > MAX_FILES_NAMED else "the report"
        yield f"  {more}: {name_command()} drops report {drop}"


def describe_seconds(seconds: float) -> str:
    """Write seconds for people; short times have a decimal."""
    return f"{seconds:.1f} s" if seconds < 10 else show_seconds(seconds)


def _line(asset: str, text: str) -> str:
    return f"  {asset:<12} {text}"
