"""SIGKILL in the lineage: outputs are absent or complete, and a re-run gives the undisturbed bytes."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dino_assets.defs.instance import open_instance
from dino_assets.defs.output_metadata import find_manifest_key
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.settings.records import StorageSettings
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.conftest import FOREIGN, REPOSITORY, photo_bytes, s3_settings

ASSETS = ("weights", "images", "tiles", "embeddings", "projections", "selections")
KILLED = -9
# Claims and indexes: made again if missing, and their keys depend on the project's folder.
PASSING = ("claims/", "digests/", "indexes/")

# The middle of every stage's work, in the order in which the stages run.
STAGES = (
    ("dino_assets.store.commits.writing.put_local_file", 1),
    ("dino_assets.images.rows.inspect_image", 2),
    ("dino_assets.tiles.stage.cut_image", 1),
    ("dino_assets.embeddings.rows.to_stored", 3),
    ("dino_assets.projections.stage.draw_map", 0),
    ("dino_assets.selections.stage.pictures.make_row", 2),
)
# More of them, also in their order; 0 is the first call in a process that reuses what is finished.
MORE_STAGES = (
    ("dino_assets.weights.stage.fetch_part", 2),
    # Committed, but not yet recorded in Dagster.
    ("dino_assets.defs.io_manager.metadata_of", 0),
    ("dino_assets.embeddings.encoder.gate_check.compare_with_reference", 0),
    ("dino_assets.embeddings.stage.worker.make_thumb", 10),
    ("dino_assets.embeddings.stage.worker.store_shard", 1),
    ("dino_assets.drops.sources.folders.FolderSource.read", 1),  # embeddings of the second drop
    ("dino_assets.projections.stage.make_page", 0),
    ("dino_assets.defs.io_manager.metadata_of", 7),  # of the map
    ("dino_assets.selections.stage.pictures.make_contact_sheet", 0),
)
# How many more objects each run writes before it is killed.
WRITES_EACH = 4


@dataclass(frozen=True)
class Project:
    """A project's folder and its store."""

    folder: Path
    store: ObjectStore
    environment: dict[str, str]

    def contents(self) -> dict[str, bytes]:
        """Read every object; drops' records without their content, since they name the folder."""
        keys = [info.key for info in self.store.list()]
        # The claim of a killed writer stays until the next writer claims.
        objects = {key: self.store.get(key) for key in keys if not key.startswith(PASSING)}
        return {key: b"" if key.startswith("drops/") else data for key, data in objects.items()}

    def report(self) -> dict[str, Any]:
        """Read the report of the last run that ended."""
        return json.loads((self.folder / "report.json").read_text())

    def writes(self) -> list[str]:
        """List the permanent keys that the last ended run wrote, in order."""
        keys = json.loads((self.folder / "writes.json").read_text())
        return [key for key in keys if not key.startswith(PASSING)]


Run = Callable[..., None]


@contextlib.contextmanager
def runner(log: Path, **environment: str) -> Iterator[Run]:
    """Make a function that runs the lineage in a new process and checks its exit code."""
    base_environment = {
        name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)
    }
    with (
        log.open("w") as log_file,
        subprocess.Popen(
            [sys.executable, "-m", "dino_assets_tests.worlds.lineage_process"],
            cwd=REPOSITORY,
            # Threads would not survive a fork.
            env={**base_environment, "OPENBLAS_NUM_THREADS": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
        ) as server,
    ):

        def run(project: Project, *, code: int = 0, **at: object) -> None:
            order = {
                "project": str(project.folder),
                "environment": {"DINO_MODEL_ID": "models/tiny", **project.environment},
                "drops": ["a", "b"],
                "at": at,
            }
            server.stdin.write(json.dumps(order) + "\n")
            server.stdin.flush()
            answer = server.stdout.readline().strip()
            assert answer == str(code), f"{at}: {answer}\n{log.read_text()[-4000:]}"

        try:
            yield run
        finally:
            server.kill()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with runner(tmp_path_factory.mktemp("runner") / "log") as run:
        yield run


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, checkpoint_dir: Path) -> Path:
    """A project before its first run: an instance, a checkpoint, two drops, one with a bad file."""
    folder = tmp_path_factory.mktemp("template")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(REPOSITORY / name, folder / name)
    shutil.copytree(checkpoint_dir, folder / "models" / "tiny")
    for drop, seeds in (("a", (0, 1, 2)), ("b", (3, 4))):
        (folder / "inbox" / drop).mkdir(parents=True)
        for seed in seeds:
            path = folder / "inbox" / drop / f"DJI_{seed:04d}.JPG"
            path.write_bytes(photo_bytes(1100, 700, seed=seed, quality=20))
    (folder / "inbox" / "a" / "BAD.JPG").write_text("not a picture")
    with open_instance(folder) as instance:
        add_drop_keys(instance, ["a", "b"])
    return folder


@pytest.fixture(scope="module")
def bucket(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> StorageSettings:
    return s3_settings(request.getfixturevalue("s3_endpoint"), tmp_path_factory.mktemp("bucket"))


def on_disk(template: Path, folder: Path) -> Project:
    shutil.copytree(template, folder)
    return Project(folder, open_store(StorageSettings(url="data", root=folder)), {})


def on_s3(template: Path, folder: Path, bucket: StorageSettings) -> Project:
    shutil.copytree(template, folder)
    settings = replace(bucket, url=f"{bucket.url}/{uuid.uuid4().hex}")
    environment = {
        "DINO_STORAGE": settings.url,
        "MINIO_ENDPOINT": str(settings.endpoint),
        "MINIO_ACCESS_KEY": str(settings.access_key),
        "MINIO_SECRET_KEY": str(settings.secret_key),
    }
    return Project(folder, open_store(settings), environment)


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Project:
    return on_disk(template, tmp_path / "project")


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def any_project(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Project:
    if request.param == "local":
        return on_disk(template, tmp_path / "project")
    return on_s3(template, tmp_path / "project", request.getfixturevalue("bucket"))


@pytest.fixture(scope="module")
def undisturbed(run: Run, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a complete, undisturbed run."""
    project = on_disk(template, tmp_path_factory.mktemp("undisturbed") / "here")
    run(project)
    assert project.report()["success"]
    return project


def expect_absent_or_complete(project: Project, whole: dict[str, bytes]) -> dict[str, bytes]:
    """Check that a killed run left only objects of the undisturbed run, and none that is incomplete."""
    present = project.contents()
    assert present == {key: whole[key] for key in present}
    assert list(verify(project.store)) == []
    return present


def find_finished(present: dict[str, bytes]) -> set[str]:
    """Find manifests, their copies, receipts and the parts they name; no run may write them again."""
    records = {
        key: data for key, data in present.items() if not key.startswith(("parts/", "copies/"))
    }
    named_keys = {key for key in present if any(key.encode() in data for data in records.values())}
    # A copy is written before its manifest, and again if the manifest was not written.
    copies = {f"copies/{key}" for key in records} & present.keys()
    return named_keys | copies | records.keys()


def expect_completed(project: Project, present: dict[str, bytes], whole: dict[str, bytes]) -> None:
    """Check that a run completed the store, wrote nothing twice, and reported what it reused."""
    report = project.report()
    assert report["success"], "\n".join(report["log"][-20:])
    assert project.contents() == whole
    assert not find_finished(present) & set(project.writes())
    reports = {find_manifest_key(entry): entry for entry in report["told"]}
    assert reports.keys() == {key for key in whole if key.startswith("manifests/")}
    for key, entry in reports.items():
        _, asset, _, name = key.removesuffix(".json").split("/")
        title = name if asset in ("images", "tiles", "embeddings") else asset
        lines = [line for line in report["log"] if line.startswith(f"{asset}: {title}: reused, ")]
        assert entry["was_reused"] == (key in present) == bool(lines)
        if asset == "embeddings" and key not in present:
            shards = key.replace("manifests/", "receipts/").removesuffix(".json") + "/"
            reused_count = sum(key.startswith(shards) for key in present)
            counts = {"shards_reused": reused_count, "shards_made": entry["shards"] - reused_count}
            assert entry["shards_were"] == {name: n for name, n in counts.items() if n}
            assert any(
                f"embeddings: {name}: " in line
                and f" shard {entry['shards']} of {entry['shards']}, {reused_count} reused" in line
                for line in report["log"]
            )


def kill_and_run_again(run: Run, project: Project, whole: dict[str, bytes], **at: object) -> None:
    run(project, code=KILLED, **at)
    present = expect_absent_or_complete(project, whole)
    run(project)
    expect_completed(project, present, whole)


def kill_later_each_time(
    run: Run, project: Project, whole: dict[str, bytes], places: Sequence[tuple[str, int]]
) -> None:
    """Kill each run one place later than the run before, up to the last stage; then complete it."""
    present: dict[str, bytes] = {}
    for function, n in places:
        present_before = present
        run(project, code=KILLED, function=function, n=n)
        present = expect_absent_or_complete(project, whole)
        assert present_before.keys() <= present.keys(), function
    assert {key.split("/")[1] for key in present if key.startswith("manifests/")} == {*ASSETS[:-1]}
    run(project)
    expect_completed(project, present, whole)


def test_lineage__undisturbed_twice(run: Run, undisturbed: Project, project: Project):
    whole = undisturbed.contents()
    assert {key.split("/")[1] for key in whole if key.startswith("manifests/")} == set(ASSETS)
    assert len(undisturbed.writes()) == len(set(undisturbed.writes())) == len(whole)
    run(project)
    expect_completed(project, {}, whole)
    run(project)
    expect_completed(project, whole, whole)
    assert project.writes() == []


def test_lineage__records_are_written_after_what_they_name(undisturbed: Project):
    whole, writes = undisturbed.contents(), undisturbed.writes()
    for n, key in enumerate(writes):
        named_keys = {other_key for other_key in writes if other_key.encode() in whole[key]}
        assert named_keys <= set(writes[:n]), key
        assert bool(named_keys) == key.startswith(("manifests/", "copies/", "receipts/"))


@pytest.mark.slow
def test_lineage__another_process_gives_the_same_bytes(
    undisturbed: Project, project: Project, tmp_path: Path
):
    with runner(tmp_path / "log", PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="C") as run_elsewhere:
        run_elsewhere(project)
    assert project.contents() == undisturbed.contents()


def test_lineage__killed_in_each_stage(run: Run, undisturbed: Project, any_project: Project):
    kill_later_each_time(run, any_project, undisturbed.contents(), STAGES)


@pytest.mark.slow
def test_lineage__killed_in_more_stages(run: Run, undisturbed: Project, project: Project):
    kill_later_each_time(run, project, undisturbed.contents(), MORE_STAGES)


def test_embeddings__killed_between_two_shards(run: Run, undisturbed: Project, project: Project):
    receipts = [key for key in undisturbed.writes() if key.startswith("receipts/")]
    assert [key.split("/")[3] for key in receipts] == ["a"] * 3 + ["b"] * 2
    kill_and_run_again(run, project, undisturbed.contents(), write=receipts[1])
    reports = {
        find_manifest_key(entry): entry for entry in project.report()["told"] if "shards" in entry
    }
    assert [reports[key]["shards_were"] for key in sorted(reports)] == [
        {"shards_reused": 2, "shards_made": 1},
        {"shards_made": 2},
    ]


def test_selections__killed_while_it_holds_the_claim(
    run: Run, undisturbed: Project, project: Project
):
    """The next run waits until the claim of the killed run is old, then removes it."""
    kill_and_run_again(run, project, undisturbed.contents(), write="claims/selections/-")
    assert list(project.store.list("claims/")) == []


@pytest.mark.slow
def test_lineage__killed_after_some_writes(
    run: Run, undisturbed: Project, template: Path, tmp_path: Path
):
    """Each run continues the run before, writes a few more objects, and is killed after the last.

    The commits' own tests kill after each write, on disk and on S3.
    """
    project = on_disk(template, tmp_path / "project")
    whole, writes = undisturbed.contents(), undisturbed.writes()
    contents_left: dict[str, bytes] = {}
    for n in range(WRITES_EACH - 1, len(writes), WRITES_EACH):
        run(project, code=KILLED, write=writes[n])
        assert not find_finished(contents_left) & set(project.writes())
        contents_left = expect_absent_or_complete(project, whole)
        assert contents_left.keys() == set(writes[: n + 1])
    run(project)
    expect_completed(project, contents_left, whole)
