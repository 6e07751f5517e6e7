"""Imported labels as answers: once only, nothing dropped silently, late photographs found later."""

import json
import os
from pathlib import Path

import pytest

from dino_assets.errors import ConfigError, CorruptObjectError, InvalidLabelsError, StoreError
from dino_assets.labels.formats.boxes import COCO
from dino_assets.labels.merging import merge_answers
from dino_assets.labels.records import Label, Window
from dino_assets.labels.stage import importing
from dino_assets.labels.stage.answers import read_answers
from dino_assets.labels.stage.drafting import draft_labels
from dino_assets.labels.stage.exporting import export_labels
from dino_assets.labels.stage.importing import import_labels, read_imports
from dino_assets.labels.stage.stored_tiles import read_current_labels
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.store.upkeep.verifying import verify
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.inboxes import commit_images, fill_bytes
from dino_assets_tests.worlds.labelling import DROP, LATER, NOW, ROUND, SPACE, LabelWorld
from dino_assets_tests.worlds.raising import raising


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def key_of(label: Label) -> tuple[str, str | None, Window, str]:
    return label.level, label.tile_id, label.window, label.class_name


def dump(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("") if "digests/" not in info.key}


@pytest.fixture
def labelled(world: LabelWorld) -> LabelWorld:
    world.answer(0, "smoke")
    inside, cut = world.chosen[1], world.chosen[3]
    window = Window(inside.x + 20, inside.y + 30, 50, 60)
    world.answer(1, "deer", level="box", window=window, second=1)
    window = Window(cut.x - 30, cut.y + 10, 100, 40)
    world.answer(3, "Süd", level="box", window=window, second=2)
    return world


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (COCO, None),
        ("", "yolo"),
        ("annotations.xml", None),
        ("label-studio.json", None),
        ("labels.csv", None),
        ("labels.geojson", None),
        ("labels.gpkg", None),
    ],
)
def test_import__of_an_export_agrees_with_every_label(labelled, tmp_path: Path, name, kind):
    before = read_current_labels(labelled.store)
    list(export_labels(labelled.store, ROUND, folder=tmp_path / "out", say=print))
    path = tmp_path / "out" / name
    report = import_labels(labelled.store, path, by="team", format=kind, now=NOW)
    assert (report.new, report.record.unmatched) == (3, ())
    labels = read_current_labels(labelled.store)
    assert [label.people for label in labels] == [2, 2, 2]
    assert list(map(key_of, labels)) == list(map(key_of, before))
    tile = next(a for s in read_answers(labelled.store) for a in s.answers if a.by == "team")
    assert tile.round == f"{SPACE}/{ROUND}"
    assert tile.source == f"{path.name} ({report.record.file_format})"


def test_import__into_an_empty_store_of_answers_gives_the_same_labels(labelled, tmp_path: Path):
    list(export_labels(labelled.store, ROUND, folder=tmp_path / "out", say=print))
    before = read_current_labels(labelled.store)
    for info in list(labelled.store.list("answers/")):
        labelled.store.delete(info.key)
    import_labels(labelled.store, tmp_path / "out" / "labels.csv", now=NOW)
    labels = read_current_labels(labelled.store)
    assert {key_of(label) for label in labels} == {key_of(label) for label in before}


def test_import__twice_changes_nothing(world: LabelWorld, tmp_path: Path):
    path = write(tmp_path / "a.csv", f"file,class\n{world.chosen[0].tile_id}.jpg,fog\nx.jpg,fog\n")
    first = import_labels(world.store, path, by="ben", now=NOW)
    assert (first.new, first.record.answers, len(first.record.unmatched)) == (1, 1, 1)
    content = dump(world.store)
    again = import_labels(world.store, path, by="ben", now=LATER)
    assert (again.new, again.record) == (0, first.record)
    assert dump(world.store) == content
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert import_labels(world.store, path, by="ben", now=LATER).new == 0
    assert import_labels(world.store, path, by="carl", now=LATER).new == 1


def test_import__lists_and_stores_what_has_no_target(world: LabelWorld, tmp_path: Path):
    lines = [
        "file,class",
        f"{world.chosen[0].tile_id}.jpg,fog",
        "lost.jpg,fog",
        f"{world.chosen[1].tile_id}.jpg,",
        f"{world.chosen[2].tile_id}.jpg,{'x' * 81}",
        ",fog",
        f"{world.chosen[3].tile_id.replace('-g1', '-g2')}.jpg,fog",
    ]
    path = write(tmp_path / "a.csv", "\n".join(lines))
    record = import_labels(world.store, path, now=NOW).record
    assert (record.answers, record.unlabelled, record.by) == (1, 1, "csv")
    assert {(row.where, row.reason) for row in record.unmatched} == {
        ("line 3", "no-such-picture"),
        ("line 5", "class-name"),
        ("line 6", "no-file-name"),
        ("line 7", "no-such-tile"),
    }
    assert list(read_imports(world.store)) == [record]


def test_import__photograph_that_arrives_later_counts_at_the_next_import(world, tmp_path: Path):
    path = write(
        tmp_path / "a.csv", f"file,class\n{world.chosen[0].tile_id}.jpg,fog\nnew.jpg,smoke\n"
    )
    assert import_labels(world.store, path, now=NOW).new == 1
    folder = fill_bytes(tmp_path / "late", {"new.jpg": photo_bytes(640, 480, seed=8)})
    images = commit_images(world.store, "late", folder)
    commit(world.store, draft_tiles(images, "late", make_grid(256)))
    report = import_labels(world.store, path, now=LATER)
    assert (report.new, report.record.answers, report.record.unmatched) == (1, 2, ())
    assert {label.class_name for label in read_current_labels(world.store)} == {"fog", "smoke"}
    assert list(read_imports(world.store)) == [report.record]


def test_import__photographs_and_boxes_of_class_folders_and_coco(world: LabelWorld, tmp_path: Path):
    sorted_folder = tmp_path / "sorted"
    for class_name, name in (("rock", "small.jpg"), ("fog", "Süd 1.JPG"), ("fog", "other.jpg")):
        (sorted_folder / class_name).mkdir(parents=True, exist_ok=True)
        (sorted_folder / class_name / name).touch()
    report = import_labels(world.store, sorted_folder, by="anna", now=NOW)
    assert report.record.levels == {"image": 2}
    assert [row.reason for row in report.record.unmatched] == ["no-such-picture"]
    coco = {
        "images": [{"id": 1, "file_name": "DJI_0002.JPG", "width": 600, "height": 550}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [100.5, 50.25, 40, 60]}],
        "categories": [{"id": 1, "name": "deer"}],
    }
    path = write(tmp_path / "result.json", json.dumps(coco))
    import_labels(world.store, path, by="anna", now=NOW)
    (box,) = [label for label in read_current_labels(world.store) if label.level == "box"]
    assert (box.window, box.path) == (Window(201, 101, 80, 120), "100MEDIA/DJI_0002.JPG")


def test_import__names_of_an_exported_round(world: LabelWorld, tmp_path: Path):
    (tmp_path / "sorted" / "smoke").mkdir(parents=True)
    (tmp_path / "sorted" / "smoke" / f"001_{DROP}_Sued-1_x0000y0000.jpg").touch()
    import_labels(world.store, tmp_path / "sorted", now=NOW)
    (label,) = read_current_labels(world.store)
    assert (label.tile_id, label.round) == (world.chosen[0].tile_id, f"{SPACE}/{ROUND}")


def test_import__tile_that_only_a_round_has(world: LabelWorld, tmp_path: Path):
    world.store.delete(f"manifests/tiles/_/{DROP}.json")
    path = write(tmp_path / "a.csv", f"file,class\n{world.chosen[0].tile_id}.jpg,fog\n")
    assert import_labels(world.store, path, now=NOW).new == 1


def test_import__interrupted_after_its_begin_goes_on_with_the_same_ids(
    world: LabelWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write(tmp_path / "a.csv", f"file,class\n{world.chosen[0].tile_id}.jpg,fog\n")

    def fail(*arguments: object) -> None:
        raise StoreError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(importing, "put_answers", fail)
        with pytest.raises(StoreError):
            import_labels(world.store, path, now=NOW)
    report = import_labels(world.store, path, now=LATER)
    assert (report.new, report.record.at) == (1, NOW)
    (stored,) = read_answers(world.store)
    assert stored.answers[0].at == NOW


def test_import__order_of_imports_decides(world: LabelWorld, tmp_path: Path):
    tile = world.chosen[0].tile_id
    for now, name in ((NOW, "fog"), (LATER, "smoke")):
        path = write(tmp_path / f"{name}.csv", f"file,class\n{tile}.jpg,{name}\n")
        import_labels(world.store, path, by="anna", now=now)
    answers = [answer for stored in read_answers(world.store) for answer in stored.answers]
    assert [label.class_name for label in merge_answers(answers).labels] == ["smoke"]


def test_import__answers_are_one_object_per_import(labelled: LabelWorld, tmp_path: Path):
    list(export_labels(labelled.store, ROUND, folder=tmp_path / "out", say=print))
    import_labels(labelled.store, tmp_path / "out" / "labels.csv", by="team", now=NOW)
    assert len(list(labelled.store.list("answers/team/"))) == 1


def test_import__refuses_files_and_names(world: LabelWorld, tmp_path: Path):
    before = dump(world.store)
    with raising(InvalidLabelsError, reason="not-json"):
        import_labels(world.store, write(tmp_path / "a.json", "{"), now=NOW)
    path = write(tmp_path / "a.csv", f"file,class\n{world.chosen[0].tile_id}.jpg,fog\n")
    with raising(ConfigError, setting="person"):
        import_labels(world.store, path, by="a\nb", now=NOW)
    assert dump(world.store) == before


def test_read_imports__damaged_record_is_verified_too(world: LabelWorld, tmp_path: Path):
    path = write(tmp_path / "a.csv", f"file,class\n{world.chosen[0].tile_id}.jpg,fog\n")
    key = import_labels(world.store, path, now=NOW).record.key
    world.store.put(key, world.store.get(key).replace(b"csv", b"csx"))
    with raising(CorruptObjectError, key=key):
        list(read_imports(world.store))
    assert [fault.key for fault in verify(world.store)] == [key]


def test_import__name_of_a_file_that_is_no_text_can_be_stored(world: LabelWorld, tmp_path: Path):
    path = write(
        tmp_path / os.fsdecode(b"a\xff.csv"), f"file,class\n{world.chosen[0].tile_id}.jpg,fog\n"
    )
    import_labels(world.store, path, now=NOW)
    commit(world.store, draft_labels(world.store))
    (row,) = open_table(world.store, "labels").read().to_pylist()
    assert row["source"] == "a\\udcff.csv (csv)"
