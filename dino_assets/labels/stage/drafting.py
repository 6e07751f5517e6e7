"""Draft of the table of labels: merged answers, their history, disagreements and a picture."""

import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dino_assets.counting import count_of
from dino_assets.drawing.bars import draw_bars
from dino_assets.drawing.lettering import encode_picture
from dino_assets.errors import NotCommittedError
from dino_assets.labels.merging import MergedLabels, merge_answers
from dino_assets.labels.records import Answer, Conflict, HistoryRow, Label
from dino_assets.labels.stage.answers import ANSWERS, StoredAnswers, read_answers
from dino_assets.store.commits.columns import columns_of, make_batch
from dino_assets.store.commits.protocol import Draft, OutputId, OutputWriter, Recipe, Spent
from dino_assets.store.commits.sealing import digest
from dino_assets.store.objects import ObjectStore

CODE_VERSION = "1"
OUTPUT = OutputId("labels")
SCHEMA = pa.schema(columns_of(Label))
HISTORY, CONFLICTS, PICTURE = "history.parquet", "conflicts.json", "labels.png"


def draft_labels(store: ObjectStore) -> Draft:
    """Draft the labels that follow from all answers in the store.

    Raises:
        NotCommittedError: nobody has answered yet.
        CorruptObjectError: a stored answer is damaged.
    """
    started = time.perf_counter()
    stored = list(read_answers(store))
    if not stored:
        raise NotCommittedError(
            f"nobody has labelled anything yet: store {store.url!r} has no object below {ANSWERS!r}. Label "
            "tiles with `dino-assets studio`, or take in a file with `dino-assets labels import`."
        )
    read_s = time.perf_counter() - started
    recipe = Recipe(OUTPUT, CODE_VERSION, inputs={"answers": hash_answers(stored)})

    def produce(out: OutputWriter) -> None:
        begun = time.perf_counter()
        answers = [answer for each in stored for answer in each.answers]
        merged = merge_answers(answers)
        out.rows(make_batch(merged.labels, SCHEMA))
        out.file(HISTORY, _dump_history(answers, merged))
        out.file(CONFLICTS, _dump_conflicts(merged.conflicts))
        facts = describe_labels(answers, merged) | {"answer_objects": len(stored)}
        out.file(PICTURE, _draw(facts))
        out.facts(facts)
        out.spent(Spent(read_s, time.perf_counter() - begun))

    return Draft(recipe, produce, SCHEMA)


def hash_answers(stored: Iterable[StoredAnswers]) -> str:
    """Hash all answers: equal answers give equal hashes, in whichever order they were read."""
    return digest(sorted([each.key, each.sha256] for each in stored))


def describe_labels(answers: Sequence[Answer], merged: MergedLabels) -> dict[str, Any]:
    """Count labels by class, level, person and source, and what has no label."""
    given = [answer for answer in answers if answer.answer_id in merged.counting]
    seconds = sorted(answer.seconds for answer in given if answer.seconds is not None)
    return {
        "classes": _count(label.class_name for label in merged.labels),
        "levels": _count(label.level for label in merged.labels),
        "people": _count(answer.by for answer in given),
        "sources": _count(label.source for label in merged.labels),
        "answers": len(answers),
        "skipped": sum(answer.kind == "skip" for answer in given),
        "conflicts": len(merged.conflicts),
        "settled": sum(label.is_settled for label in merged.labels),
        # Of long pauses the median shows nothing, and a mean would.
        **({"seconds_per_label": round(seconds[len(seconds) // 2], 2)} if seconds else {}),
    }


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _dump_history(answers: Iterable[Answer], merged: MergedLabels) -> bytes:
    rows = [
        _to_row(answer, merged) for answer in sorted(answers, key=lambda answer: answer.answer_id)
    ]
    table = pa.Table.from_batches([make_batch(rows, pa.schema(columns_of(HistoryRow)))])
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _to_row(answer: Answer, merged: MergedLabels) -> HistoryRow:
    target, counts = answer.target, answer.answer_id in merged.counting
    where: dict[str, Any] = dict.fromkeys(("level", "drop", "image_id", "path", "tile_id", *"xywh"))
    if target is not None:
        names = ("level", "drop", "image_id", "path", "tile_id")
        where = {name: getattr(target, name) for name in names} | asdict(target.window)
    fields: dict[str, Any] = {
        key: value for key, value in asdict(answer).items() if key != "target"
    }
    return HistoryRow(**fields, **where, counts=counts)


def _dump_conflicts(conflicts: Iterable[Conflict]) -> bytes:
    plain = [asdict(conflict) for conflict in conflicts]
    return json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def _draw(facts: dict[str, Any]) -> bytes:
    labels = sum(facts["classes"].values())
    notes = [f"by {count_of(len(facts['people']), 'person', 'people')}"]
    if facts["conflicts"]:
        count = count_of(facts["conflicts"], "disagreement")
        notes.append(f"{count}, without a label until somebody settles it")
    title = f"{count_of(labels, 'label')} of {count_of(len(facts['classes']), 'class', 'classes')}"
    return encode_picture(draw_bars(facts["classes"], title=title, notes=notes), "PNG")
