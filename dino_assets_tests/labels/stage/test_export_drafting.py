"""An exported round as a committed output: one zip file, its table and its sheet, and the check of it."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from dino_assets.errors import NotCommittedError
from dino_assets.labels.export_settings import OUT_FORMATS, LabelExportSettings
from dino_assets.labels.formats.records import Suggestion, Suggestions
from dino_assets.labels.records import Window
from dino_assets.labels.stage.drafting import draft_labels
from dino_assets.labels.stage.export_drafting import SCHEMA, SHEET, draft_label_exports
from dino_assets.labels.stage.exporting import Suggest, export_labels
from dino_assets.labels.stage.judging import judge_export
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import Committed, Draft, NamedBytes, OutputId, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.verdicts import Verdict
from dino_assets_tests.worlds.labelling import ROUND, SPACE, LabelWorld
from dino_assets_tests.worlds.outputs import pushing

OUTPUT = OutputId("label_exports", ROUND, SPACE)


def suggest_nothing(*given: object) -> Suggestions:
    return Suggestions()


def export(
    world: LabelWorld,
    folder: Path,
    settings: LabelExportSettings | None = None,
    suggest: Suggest = suggest_nothing,
) -> Committed:
    rounds = open_table(world.store, "selections", space=SPACE)
    draft = draft_label_exports(
        rounds, "", settings or LabelExportSettings(), suggest=suggest, cache=folder
    )
    return commit(world.store, draft)


def read_file(world: LabelWorld, exported: Committed, name: str) -> bytes:
    (part,) = (part for part in exported.manifest.parts if part.name == name)
    return read_part(world.store, part)


def judge(world: LabelWorld) -> Verdict:
    return judge_export(open_table(world.store, "label_exports", space=SPACE), OUTPUT)


def label_some(world: LabelWorld) -> None:
    """A tile's class, a photograph's, and boxes inside a tile and cut by a tile's edge."""
    world.answer(0, "smoke")
    world.answer(4, "rock", level="image", window=Window(0, 0, 640, 480), second=1)
    inside, cut = world.chosen[1], world.chosen[3]
    world.answer(
        1, "deer", level="box", window=Window(inside.x + 20, inside.y + 30, 50, 60), second=2
    )
    world.answer(3, "deer", level="box", window=Window(cut.x - 30, cut.y + 10, 100, 40), second=3)
    commit(world.store, draft_labels(world.store))


def test_draft__zip_has_the_files_of_the_command(world: LabelWorld, tmp_path: Path):
    label_some(world)
    exported = export(world, tmp_path / "cache")
    folder = tmp_path / ROUND
    paths = list(export_labels(world.store, ROUND, folder=folder, say=print))
    expected = {f"{ROUND}/{path.relative_to(folder).as_posix()}": path for path in paths}
    with zipfile.ZipFile(io.BytesIO(read_file(world, exported, f"{ROUND}.zip"))) as archive:
        assert set(archive.namelist()) == set(expected)
        for name, path in expected.items():
            assert archive.read(name) == path.read_bytes(), name
    assert list((tmp_path / "cache").iterdir()) == []


def test_draft__table_and_facts_say_what_the_files_say(world: LabelWorld, tmp_path: Path):
    label_some(world)
    tile_id = world.chosen[2].tile_id
    exported = export(
        world,
        tmp_path,
        suggest=lambda *given: Suggestions({tile_id: Suggestion("fog", 0.75)}),
    )
    rows = open_table(world.store, "label_exports", space=SPACE).read(ROUND).to_pylist()
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["class_name"] for row in rows] == ["smoke", None, None, None, "rock"]
    assert [row["box_classes"] for row in rows] == [[], ["deer"], [], ["deer"], []]
    assert (rows[2]["suggestion"], rows[2]["suggestion_score"]) == ("fog", 0.75)
    facts = exported.manifest.facts
    assert (facts["tiles"], facts["labelled"], facts["boxes"], facts["suggested"]) == (5, 4, 2, 1)
    assert facts["classes"] == {"deer": 2, "rock": 1, "smoke": 1}
    assert facts["formats"] == list(OUT_FORMATS)
    with Image.open(io.BytesIO(read_file(world, exported, SHEET))) as sheet:
        assert sheet.width > 1000  # five tiles beside one another


def test_draft__is_reused_until_labels_suggestions_or_settings_change(
    world: LabelWorld, tmp_path: Path
):
    first = export(world, tmp_path)
    assert export(world, tmp_path).was_reused
    label_some(world)
    second = export(world, tmp_path)
    assert not second.was_reused
    assert second.manifest.facts["labelled"] == 4
    suggested = Suggestions({world.chosen[0].tile_id: Suggestion("fog")}, {"probes": "1"})
    assert not export(world, tmp_path, suggest=lambda *given: suggested).was_reused
    without = LabelExportSettings(suggestions=False)
    third = export(world, tmp_path, without, lambda *given: suggested)
    assert third.manifest.facts["suggested"] == 0
    assert "probes" not in third.manifest.recipe.inputs
    csv_only = export(world, tmp_path, LabelExportSettings(formats=("csv",)))
    assert csv_only.manifest.facts["formats"] == ["csv"]
    again = export(world, tmp_path)
    assert again.manifest == second.manifest  # made again, with the same bytes
    assert again.manifest != first.manifest


def test_draft__absent_round(world: LabelWorld, tmp_path: Path):
    rounds = open_table(world.store, "selections", space=SPACE)
    for table, name in (
        (rounds, "round-0009"),
        (open_table(world.store, "selections", space="t"), ""),
    ):
        with pytest.raises(NotCommittedError):
            draft_label_exports(
                table, name, LabelExportSettings(), suggest=suggest_nothing, cache=tmp_path
            )


def test_judge__round_with_and_without_labels(world: LabelWorld, tmp_path: Path):
    export(world, tmp_path)
    assert judge(world).passed
    label_some(world)
    export(world, tmp_path)
    assert judge(world).passed


@pytest.mark.parametrize("name", OUT_FORMATS)
def test_judge__format_that_says_something_else(world: LabelWorld, tmp_path: Path, name: str):
    label_some(world)
    settings = LabelExportSettings(formats=(name,))
    before = read_file(world, export(world, tmp_path, settings), f"{ROUND}.zip")
    assert judge(world).passed
    world.answer(0, "fog", second=9)
    commit(world.store, draft_labels(world.store))
    export(world, tmp_path, settings)
    assert judge(world).passed
    table = open_table(world.store, "label_exports", space=SPACE)
    rows = table.read(ROUND).to_batches()
    facts = table.manifest(ROUND).facts
    forged = pushing([*rows, NamedBytes(f"{ROUND}.zip", before), facts])
    commit(world.store, Draft(Recipe(OUTPUT, "forged"), forged, SCHEMA))
    assert not judge(world).passed


def test_judge__lost_zip_file(world: LabelWorld, tmp_path: Path):
    exported = export(world, tmp_path)
    (part,) = (part for part in exported.manifest.parts if part.name == f"{ROUND}.zip")
    world.store.delete(part.key)
    assert not judge(world).passed
