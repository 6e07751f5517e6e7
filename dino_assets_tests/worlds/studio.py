"""A project with two drawn flights, a map and a round of 200 tiles, and the studio as a process of its own."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dino_assets.demo.flights.draw import draw_flights
from dino_assets.drops.records import Drop
from dino_assets.drops.registry import write_drop
from dino_assets.drops.sources.folders import FolderSource
from dino_assets.labels.records import Answer
from dino_assets.labels.stage.answers import read_answers
from dino_assets.projections.stage import draft_projections
from dino_assets.selections.rounds import RoundSettings
from dino_assets.settings.environment import environment_with
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.curation import LINEAR, CurationWorld
from dino_assets_tests.worlds.servers import HOST, free_port, running

DROPS = ("ridge-north", "river-burn")
CAVEAT = "random weights: they only show that the pipeline runs"
ROUND, BUDGET, SIDE = "round-0001", 200, 128


@dataclass(frozen=True)
class StudioProject:
    """A project's folder, and the space of its round."""

    folder: Path
    space: str

    @property
    def store(self) -> ObjectStore:
        return open_store(StorageSettings(url="data", root=self.folder))

    @property
    def answers(self) -> list[Answer]:
        """All answers, as another program reads them from the store."""
        stored = [answer for each in read_answers(self.store) for answer in each.answers]
        return sorted(stored, key=lambda answer: answer.answer_id)

    def list_round(self) -> list[tuple[str, str]]:
        """Drop and id of the round's tiles, by rank."""
        table = open_table(self.store, "selections", space=self.space).read(ROUND)
        return list(zip(table["drop"].to_pylist(), table["tile_id"].to_pylist(), strict=True))

    def copy(self, folder: Path) -> "StudioProject":
        """A copy with the same photographs."""
        shutil.copytree(self.folder, folder)
        return StudioProject(folder, self.space)


def make_project(folder: Path, checkpoint_dir: Path, cache: Path) -> StudioProject:
    """Draw flights, and run them from images to a map and a round of 200 tiles."""
    inbox = folder.parent / "inbox"
    draw_flights(inbox, scale=0.3)
    folder.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", folder / "dagster.yaml")
    store = open_store(StorageSettings(url="data", root=folder))
    for name in DROPS:
        write_drop(store, Drop(name, str(inbox / name), "", name))
    sources = {name: FolderSource(inbox / name, shown=name) for name in DROPS}
    world = CurationWorld.make(store, sources, checkpoint_dir, cache=cache, side=SIDE)
    tiles = world.tiles()
    commit(
        store,
        draft_projections(world.embeddings(), tiles, LINEAR, model="tiny", caveat=CAVEAT),
    )
    settings = RoundSettings(round=1, budget=BUDGET, strategy="random", all_windows=True, all=True)
    world.select(settings, caveat=CAVEAT)
    return StudioProject(folder, world.space)


@dataclass(frozen=True)
class RunningStudio:
    """A studio's process, its address with the token, and a client that has the token."""

    process: Any
    address: str
    client: httpx.Client

    @property
    def url(self) -> str:
        return self.address.partition("/?")[0]

    @property
    def token(self) -> str:
        return self.address.partition("token=")[2]

    def post(self, by: str, *answers: dict[str, Any]) -> httpx.Response:
        return self.client.post("/api/answers", json={"by": by, "answers": list(answers)})


@contextlib.contextmanager
def running_studio(
    project: StudioProject, *, port: int | None = None, log: Path | None = None
) -> Iterator[RunningStudio]:
    """The command ``studio``, once it answers."""
    port = port or free_port()
    log = log or project.folder / f"studio-{port}.log"
    command = [sys.executable, "-m", "dino_assets.cli", "studio", "--port", str(port)]
    env = environment_with(PYTHONPATH=str(REPOSITORY))
    with running(
        command,
        url=f"http://{HOST}:{port}/",
        log=log,
        env=env,
        cwd=project.folder,
    ) as process:
        address = read_address(log)
        token = address.partition("token=")[2]
        headers = {"Authorization": f"Bearer {token}"}
        base = f"http://{HOST}:{port}"
        with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
            yield RunningStudio(process, address, client)


def read_address(log: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        words = log.read_text().split()
        if "Studio:" in words:
            return words[words.index("Studio:") + 1]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def label(tile: tuple[str, str], class_name: str, number: int, **more: Any) -> dict[str, Any]:
    """An answer as the page sends it."""
    return {
        "id": f"{number:016x}",
        "kind": "label",
        "drop": tile[0],
        "tile_id": tile[1],
        "class": class_name,
        **more,
    }
