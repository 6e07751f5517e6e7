"""A labels version as a committed output: the files of the frozen folder, never replaced, and judged."""

from pathlib import Path

import pytest

from dino_assets.errors import NotCommittedError
from dino_assets.labels.records import Window
from dino_assets.labels.stage.drafting import draft_labels
from dino_assets.labels.stage.judging import judge_version
from dino_assets.labels.stage.version_drafting import SCHEMA, draft_label_versions
from dino_assets.labels.stage.versions import PARQUET, write_version
from dino_assets.labels.version_settings import VersionSettings
from dino_assets.store.commits.parts import read_part
from dino_assets.store.commits.protocol import (
    Committed,
    Draft,
    Manifest,
    NamedBytes,
    OutputId,
    Recipe,
)
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.verdicts import Verdict
from dino_assets_tests.worlds.labelling import LabelWorld
from dino_assets_tests.worlds.outputs import pushing

SETTINGS = VersionSettings("Smoke over ridges", "CC-BY-4.0")


@pytest.fixture
def labelled(world: LabelWorld) -> LabelWorld:
    world.answer(0, "smoke")
    second = world.chosen[2]
    window = Window(second.x + 20, second.y + 30, 50, 60)
    world.answer(2, "deer", level="box", window=window, second=2)
    commit(world.store, draft_labels(world.store))
    return world


def freeze(
    world: LabelWorld,
    cache: Path,
    settings: VersionSettings = SETTINGS,
    says: list[str] | None = None,
) -> Committed:
    draft = draft_label_versions(
        world.store,
        settings,
        open_source=world.open_source,
        cache=cache,
        say=(says if says is not None else []).append,
    )
    return commit(world.store, draft)


def judge(world: LabelWorld, manifest: Manifest) -> Verdict:
    return judge_version(open_table(world.store, "label_versions"), manifest.recipe.output)


def read_files(world: LabelWorld, manifest: Manifest) -> dict[str, bytes]:
    return {
        part.name: read_part(world.store, part) for part in manifest.parts if part.name is not None
    }


def test_draft__has_the_files_of_the_command_and_a_table(labelled: LabelWorld, tmp_path: Path):
    manifest = freeze(labelled, tmp_path / "cache").manifest
    folder = tmp_path / "folder"
    written = write_version(
        labelled.store, folder, SETTINGS, open_source=labelled.open_source, say=print
    )
    assert manifest.recipe.output == OutputId("label_versions", written.version)
    expected = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    files = read_files(labelled, manifest)
    assert files.pop("labels.png").startswith(b"\x89PNG")
    assert files == expected
    rows = open_table(labelled.store, "label_versions").read(written.version).to_pylist()
    assert {row["class_name"] for row in rows} == {"smoke", "deer"}
    assert {row["picture"] for row in rows} == {name for name in files if "crops/" in name}
    assert list((tmp_path / "cache").iterdir()) == []


def test_draft__other_labels_and_other_words_are_other_versions(
    labelled: LabelWorld, tmp_path: Path
):
    first = freeze(labelled, tmp_path)
    assert freeze(labelled, tmp_path).was_reused
    licensed = freeze(labelled, tmp_path, VersionSettings("Smoke over ridges", "MIT"))
    labelled.answer(3, "fog", second=9)
    commit(labelled.store, draft_labels(labelled.store))
    later = freeze(labelled, tmp_path)
    outputs = {each.manifest.recipe.output for each in (first, licensed, later)}
    assert len(outputs) == 3
    kept = open_table(labelled.store, "label_versions")
    assert kept.manifest(first.manifest.recipe.output.drop) == first.manifest


def test_draft__unreadable_photograph_and_no_labels(labelled: LabelWorld, tmp_path: Path):
    for path in labelled.folder.rglob("*.*"):
        path.unlink()
    says: list[str] = []
    manifest = freeze(labelled, tmp_path, says=says).manifest
    assert (manifest.facts["labels"], manifest.facts["without_picture"]) == (2, 1)
    assert len(says) == 1
    assert judge(labelled, manifest).passed
    labelled.store.delete("manifests/labels/_/_.json")
    with pytest.raises(NotCommittedError):
        freeze(labelled, tmp_path)


@pytest.mark.parametrize("fault", ["other-table", "other-crop", "no-crop", "lost"])
def test_judge__faults(labelled: LabelWorld, tmp_path: Path, fault: str):
    manifest = freeze(labelled, tmp_path).manifest
    assert judge(labelled, manifest).passed
    files = read_files(labelled, manifest)
    crop = next(name for name in files if name.startswith("crops/"))
    if fault == "lost":
        (part,) = (part for part in manifest.parts if part.name == PARQUET)
        labelled.store.delete(part.key)
    elif fault == "no-crop":
        del files[crop]
    elif fault == "other-crop":
        files[crop] = files[crop][:-2]
    else:
        files[PARQUET] += b" "
    if fault != "lost":
        table = open_table(labelled.store, "label_versions")
        rows = table.read(manifest.recipe.output.drop).to_batches()
        forged = pushing([*rows, *(NamedBytes(name, data) for name, data in files.items())])
        recipe = Recipe(manifest.recipe.output, "forged")
        manifest = commit(labelled.store, Draft(recipe, forged, SCHEMA)).manifest
    assert not judge(labelled, manifest).passed
