"""A project with an inbox that is surveyed again and again, and what a run would commit to it."""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from dino_assets.drops.arrivals import (
    PastRuns,
    read_folder_state,
)
from dino_assets.drops.late import LateWatch
from dino_assets.drops.registering import register_drop
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.survey import (
    MAX_LAUNCHES,
    FolderReader,
    Memory,
    Survey,
    survey_inbox,
)
from dino_assets.images.stage.drafting import draft_images
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.manifests import content_hash, read_manifest
from dino_assets.store.commits.protocol import Draft, OutputId, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.outputs import pushing

GRID = make_grid(512, patch_px=16)


VECTORS = pa.schema([("n", pa.int64())])


@dataclass
class KnownRuns:
    """What a test says that the orchestrator knows."""

    in_flight: frozenset[str] = frozenset()
    ended: dict[str, PastRuns] = field(default_factory=dict)

    def past(self, drop: str, content: str) -> PastRuns:
        return self.ended.get(drop, PastRuns())


@dataclass
class Inbox:
    """A project with an inbox, a store and a clock, surveyed again and again."""

    root: Path
    store: ObjectStore
    url: str = "inbox"
    now_s: float = 1_000_000.0
    runs: KnownRuns = field(default_factory=KnownRuns)
    memory: Memory = field(default_factory=Memory)
    remembered: dict = field(default_factory=dict)
    late_watch: LateWatch = field(default_factory=LateWatch)
    read_state: FolderReader = read_folder_state
    max_launches: int = MAX_LAUNCHES

    def put(self, path: str, data: bytes | None = None) -> None:
        target = self.root / "inbox" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(photo_bytes() if data is None else data)

    def survey(self, *, after_s: float = 30.0) -> Survey:
        self.now_s += after_s
        survey = survey_inbox(
            self.store, self.url, root=self.root, runs=self.runs, memory=self.memory,
            remembered=self.remembered, late_watch=self.late_watch, clock=lambda: self.now_s,
            read_state=self.read_state, max_launches=self.max_launches,
        )  # fmt: skip
        # As it travels between two ticks.
        self.memory = Memory.load(survey.memory.dump())
        assert self.memory == survey.memory
        return survey

    def launched(self, *, after_s: float = 30.0) -> list[str]:
        return [launch.drop for launch in self.survey(after_s=after_s).launches]

    def note(self, folder: str, *, after_s: float = 30.0) -> str:
        return {n.folder: n.sentence for n in self.survey(after_s=after_s).notes}[folder]

    def make(
        self,
        folder: str,
        *,
        until: str = "embeddings",
        space: str = "s1",
        source: str | None = None,
    ) -> None:
        """What a run of `ingest` commits, up to an asset."""
        source = source or str(self.root / "inbox" / folder)
        drop, _ = register_drop(self.store, folder, source=source, root=self.root)
        commit(self.store, draft_images(drop, open_source(drop.source, root=self.root), threads=1))
        if until == "images":
            return
        commit(self.store, draft_tiles(open_table(self.store, "images"), drop.name, GRID))
        if until == "tiles":
            return
        tiles = read_manifest(self.store, OutputId("tiles", drop.name))
        output = OutputId("embeddings", drop.name, space)
        recipe = Recipe(output, "1", inputs={"tiles": content_hash(tiles)})
        batch = pa.RecordBatch.from_pydict({"n": [1]}, VECTORS)
        commit(self.store, Draft(recipe, pushing([batch]), VECTORS))


def s3_client(settings: StorageSettings):
    import boto3

    return boto3.client(
        "s3", endpoint_url=settings.endpoint, aws_access_key_id="a", aws_secret_access_key="b",
        region_name="us-east-1",
    )  # fmt: skip


def put_objects(settings: StorageSettings, *keys: str, data: bytes = b"x") -> None:
    """Under names that our own store would refuse to write."""
    for key in keys:
        name = settings.url.split("/")[2]
        s3_client(settings).put_object(Bucket=name, Key=f"some/prefix/{key}", Body=data)
