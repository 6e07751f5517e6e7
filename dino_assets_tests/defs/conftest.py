"""Fixtures: the real definitions, on a project of their own."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from dino_assets.definitions import make_definitions
from dino_assets.defs.instance import open_instance
from dino_assets.defs.partitions import add_drop_keys
from dino_assets.drops.registering import register_drop
from dino_assets.settings.environment import load_settings
from dino_assets.store.commits.catalogue import assets_of_job
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import REPOSITORY, photo_bytes
from dino_assets_tests.worlds.tower import Tower


class Lineage:
    """Registers drops and materialises assets, in this process."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.settings = load_settings()
        self.store: ObjectStore = open_store(self.settings.storage)

    def register(self, name: str, folder: Path) -> None:
        register_drop(self.store, name, source=str(folder), root=self.settings.root)
        add_drop_keys(self.instance, [name])

    def photograph(self, names: str) -> None:
        """Write and register drops with one photograph of 24 tiles each; their names have one letter."""
        for seed, name in enumerate(names):
            folder = self.settings.root / "inbox" / name
            folder.mkdir(parents=True)
            (folder / "DJI_0001.JPG").write_bytes(photo_bytes(1600, 1200, seed=seed))
            self.register(name, folder)

    def embed(self, *drops: str, **config: dict) -> None:
        """Make all up to the embeddings of drops."""
        assert self.run(*drops, only=assets_of_job("ingest"), **config).success

    def run(
        self,
        *drops: str,
        only: Sequence[str] | None = None,
        resources: dict | None = None,
        **config: dict,
    ) -> dg.ExecuteInProcessResult:
        defs = make_definitions(self.settings)
        tags = {}
        if len(drops) > 1:
            tags = {
                "dagster/asset_partition_range_start": min(drops),
                "dagster/asset_partition_range_end": max(drops),
            }
        return dg.materialize(
            [*defs.assets, *defs.asset_checks],
            selection=list(only) if only else None,
            instance=self.instance,
            partition_key=drops[0] if len(drops) == 1 else None,
            resources={**defs.resources, **(resources or {})},
            run_config={"ops": {name: {"config": value} for name, value in config.items()}},
            tags=tags,
            raise_on_error=False,
        )

    def metadata(self, asset: str, drop: str | None = None) -> dict[str, object]:
        event = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[drop] if drop else None),
            limit=1,
        ).records[0]
        return {k: v.value for k, v in event.asset_materialization.metadata.items()}


@pytest.fixture
def lineage(project: Path, instance: dg.DagsterInstance, ready_engines: None) -> Lineage:
    return Lineage(instance)


@pytest.fixture
def card(project: Path, write_photo: Callable[..., Path]) -> Callable[..., Path]:
    """Makes a drop's folder with good photographs and bad files."""

    def make(name: str, *, good: int = 3, bad: int = 0) -> Path:
        folder = project / "inbox" / name
        for number in range(good):
            write_photo(folder / "100MEDIA" / f"DJI_{number:04d}.JPG", 1600, 1200, seed=number)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(bad):
            (folder / f"BAD_{number}.JPG").write_text("not a picture")
        return folder

    return make


@pytest.fixture(scope="session")
def fresh_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty databases of the committed instance; making them takes longer than most tests."""
    folder = tmp_path_factory.mktemp("instance")
    shutil.copy(REPOSITORY / "dagster.yaml", folder)
    with open_instance(folder):
        return folder / ".dagster"


@pytest.fixture
def tower(project: Path, fresh_instance: Path) -> Iterator[Tower]:
    """Sensor ticks on the committed instance; partition keys are resolved only in one on disk."""
    shutil.copytree(fresh_instance, project / ".dagster")
    (project / "inbox").mkdir()
    with open_instance(project) as instance:
        yield Tower(instance)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {e.check_name: e for e in result.get_asset_check_evaluations()}


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    (event,) = [e for e in result.all_events if e.is_step_failure and e.step_key == step]
    return str(event.step_failure_data.error)
