"""The commands ``probe train`` and ``probe predict``: a classifier of tiles, learnt from labels."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_assets.cli.flags import add_flags, add_json
from dino_assets.cli.registering import find_drop_name, open_store_here
from dino_assets.cli.terminal import name_command, say, showing_log, write_json
from dino_assets.cli.ui_events import report_probe
from dino_assets.counting import count_of
from dino_assets.errors import NotCommittedError
from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.settings.records import Settings
from dino_assets.settings.urls import expand_path
from dino_assets.weights.records import spell_caveat

if TYPE_CHECKING:
    import pyarrow as pa

    from dino_assets.store.commits.reading import CommittedTable

_SHOWN_TILES = 20
_NO_SETTINGS = ("run", "json", "tile_px")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the group ``probe`` with its commands."""
    probe = commands.add_parser(
        "probe", help="learn classes of tiles from labels, and predict them"
    )
    group = probe.add_subparsers(metavar="COMMAND", required=True)
    train = group.add_parser(
        "train",
        help="learn from the labels, and predict the class of every tile",
        description=(
            "Merge the labels, learn a linear classifier of the tiles' vectors from them, and predict the class of "
            "every tile. The scores are of labelled tiles whose ground the classifier did not see."
        ),
        argument_default=argparse.SUPPRESS,
    )
    add_flags(train, ProbeSettings)
    train.add_argument(
        "--tile-px",
        type=int,
        metavar="N",
        help="Side of the tiles whose embeddings are used, in pixels (default: 518 for DINOv2, 512 for DINOv3)",
    )
    train.add_argument("--json", action="store_true", help="Print JSON, for programs")
    train.set_defaults(run=_train)
    predict = group.add_parser(
        "predict",
        help="list the predicted classes of tiles, the most uncertain first",
        description="List the classes that the last probe predicts for tiles, the most uncertain first.",
    )
    predict.add_argument("drop", metavar="DROP", nargs="*", help="only tiles of these drops")
    predict.add_argument("--space", metavar="ID", help="the space, if there are several probes")
    predict.add_argument(
        "--npz",
        type=Path,
        metavar="FILE.npz",
        help="write ids, classes, probabilities and uncertainty of all these tiles into this file",
    )
    add_json(predict)
    predict.set_defaults(run=_predict)


def _train(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.compute.settings import ComputeSettings
    from dino_assets.labels.stage.drafting import draft_labels
    from dino_assets.probes.stage.drafting import make_settings, open_probe
    from dino_assets.probes.stage.reading import read_report
    from dino_assets.store.commits.reading import SpacedTable, open_table
    from dino_assets.store.commits.writing import commit
    from dino_assets.weights.stage import load_checkpoint

    given = vars(options)  # an option that is not given is not there
    values = {name: value for name, value in given.items() if name not in _NO_SETTINGS}
    store = open_store_here(settings)
    values["drops"] = [find_drop_name(store, name) for name in values.get("drops", ())]
    probe_settings = make_settings(**values)
    checkpoint = load_checkpoint(store)
    labels = commit(store, draft_labels(store))
    with showing_log("dino_assets.probes"):
        draft = open_probe(
            SpacedTable(store, "embeddings"),
            open_table(store, "tiles"),
            checkpoint,
            ComputeSettings(),  # a space does not depend on the device; looking for one would load torch
            probe_settings,
            tile_px=given.get("tile_px", 0),
        )
        committed = commit(store, draft)
    report_probe(settings, store, labels, committed)
    report = read_report(store, committed.manifest)
    if "json" in given:
        write_json(report | {"was_reused": committed.was_reused})
        return 0
    for line in describe_report(report):
        say(line)
    if committed.was_reused:
        say("labels, tiles and settings are unchanged, so this is the probe of before")
    say(f"pictures and files: {name_command()} export probes --to out/probe")
    return 0


def describe_report(report: Mapping[str, Any]) -> Iterable[str]:
    """Describe a probe's report in lines: a table of classes, and the scores with their intervals."""
    names = [each["class"] for each in report["per_class"]]
    width = max(5, *(len(name) for name in names))
    yield f"{'class':<{width}}  labels  precision  recall  (95 %)         predicted tiles"
    for each in report["per_class"]:
        precision = "-" if each["precision"] is None else f"{each['precision']:.3f}"
        low, high = each["recall_from_to"]
        yield (
            f"{each['class']:<{width}}  {each['labels']:6d}  {precision:>9}  {each['recall']:6.3f}  "
            f"({low:.3f}-{high:.3f})  {report['predicted'][each['class']]:15,}"
        )
    settings = report["settings"]
    by = f"{settings['split']}, {settings['block_m']} m" if settings["split"] == "ground" else settings["split"]  # fmt: skip
    yield (
        f"held out by {by}: {count_of(report['groups'], 'group')} in {count_of(report['folds'], 'fold')}"
    )
    for name, key in (("accuracy", "accuracy"), ("macro accuracy", "macro")):
        value = report["accuracy" if key == "accuracy" else "macro_accuracy"]
        low, high = report[f"{key}_from_to"]
        yield f"{name} {value:.3f} ({low:.3f} to {high:.3f})"
    yield f"the largest class alone {report['largest_share']:.3f}; calibration error {report['ece']:.3f}"
    if report["unplaced"]:
        yield (
            f"{count_of(report['unplaced'], 'label')} without a place on the ground, held out by photograph"
        )
    if caveat := report.get("caveat"):
        yield f"note: {spell_caveat(caveat)}"


def _predict(options: argparse.Namespace, settings: Settings) -> int:
    from dino_assets.probes.stage.reading import find_probe, read_report

    store = open_store_here(settings)
    probes = find_probe(store, space=options.space)
    report = read_report(store, probes.manifest(None))
    drops = [find_drop_name(store, name) for name in options.drop]
    rows = _read_rows(probes, drops)
    if options.npz is not None:
        _write_npz(expand_path(options.npz), rows, report)
    caveat = report.get("caveat", "")
    if options.json:
        without = rows.drop_columns(["probabilities"])
        write_json({"classes": report["classes"], "caveat": caveat, "tiles": without.to_pylist()})
        return 0
    for row in rows.slice(0, _SHOWN_TILES).to_pylist():
        say(
            f"{row['class_name']}  {row['probability']:.3f}  entropy {row['entropy']:.3f}  {row['drop']}  "
            f"{row['tile_id']}" + (f"  labelled {row['label']}" if row["label"] else "")
        )
    counts = Counter(rows["class_name"].to_pylist())
    say(
        f"{count_of(len(rows), 'tile')}: "
        + ", ".join(f"{name} {counts[name]:,}" for name in report["classes"])
    )
    if options.npz is not None:
        say(f"file {options.npz}")
    if caveat:
        say(f"note: {spell_caveat(caveat)}")
    return 0


def _read_rows(probes: "CommittedTable", drops: list[str]) -> "pa.Table":
    """Read the predictions of some drops, or of all, the most uncertain first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [part for _, part in probes.parts()]
    table = pa.concat_tables(
        part.filter(pc.is_in(part["drop"], pa.array(drops, pa.string()))) if drops else part
        for part in parts
    )
    if drops and not len(table):
        raise NotCommittedError(
            f"the probe has no tile of {', '.join(drops)}. Embed the drop, then train again: "
            "`dino-assets probe train`."
        )
    return table.sort_by(
        [("entropy", "descending"), ("drop", "ascending"), ("tile_id", "ascending")]
    )


def _write_npz(file: Path, rows: "pa.Table", report: Mapping[str, Any]) -> None:
    import io

    import numpy as np

    from dino_assets.store.targets import write_target

    classes = report["classes"]
    flat = rows["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    words = {
        name: np.array(rows[name].to_pylist(), np.str_)
        for name in ("tile_id", "drop", "image_id", "class_name")
    }
    numbers = {name: rows[name].to_numpy() for name in ("entropy", "margin", "disagreement")}
    sink = io.BytesIO()
    np.savez(
        sink,
        classes=np.array(classes, np.str_),
        probabilities=flat.reshape(-1, len(classes)),
        **words,  # type: ignore[arg-type]
        **numbers,
    )
    write_target(file, sink.getvalue())
