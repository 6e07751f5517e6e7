"""A small flight with a committed round, whose tiles are labelled, exported and read back."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from dino_assets.drops.sources.folders import FolderSource
from dino_assets.images.decoding import decode_image
from dino_assets.labels.crops import CropFrame
from dino_assets.labels.formats.records import CropBox, TileCrop
from dino_assets.labels.records import Answer, Level, Target, Window
from dino_assets.labels.stage.answers import put_answers
from dino_assets.selections.records import ChosenTile
from dino_assets.selections.stage.drafting import SCHEMA, SHEET
from dino_assets.store.commits.columns import make_batch
from dino_assets.store.commits.protocol import Draft, NamedBytes, OutputId, Recipe
from dino_assets.store.commits.reading import open_table
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore
from dino_assets.tiles.grid import cut_tiles, make_grid
from dino_assets.tiles.stage import draft_tiles
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.inboxes import commit_images, drone_photo, fill_bytes
from dino_assets_tests.worlds.outputs import pushing

NOW = datetime(2026, 12, 1, 10, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 12, 2, 10, 0, 0, tzinfo=UTC)
SIDE = 256
PLACE = Window(512, 256, 256, 256)
DROP, SPACE, ROUND = "ridge", "s", "round-0001"


@dataclass(frozen=True)
class LabelWorld:
    """A store with a flight and a round, and the folder with the flight's photographs."""

    store: ObjectStore
    folder: Path
    chosen: tuple[ChosenTile, ...]

    def open_source(self, drop: str) -> FolderSource:
        return FolderSource(self.folder, shown=drop)

    def answer(
        self,
        number: int,
        class_name: str,
        *,
        level: Level = "tile",
        window: Window | None = None,
        by: str = "anna",
        second: int = 0,
    ) -> Answer:
        """Store an answer about the chosen tile of a number, its photograph or a box in it."""
        tile = self.chosen[number]
        place = window or Window(tile.x, tile.y, tile.w, tile.h)
        tile_id = tile.tile_id if level == "tile" else None
        target = Target(level, tile.drop, tile.image_id, tile.path, place, tile_id)
        at = NOW.replace(year=2025, second=second)
        answer_id = f"{second:012x}-{number:04d}{level}"
        answer = Answer(answer_id, "label", by, at, "studio", target, class_name)
        put_answers(self.store, [answer])
        return answer


def make_label_world(store: ObjectStore, folder: Path) -> LabelWorld:
    """Commit a flight of two placed photographs, a small one and one without GPS, and a round of five tiles."""
    photos = {
        "100MEDIA/Süd 1.JPG": drone_photo(size=(1200, 900)),
        "100MEDIA/DJI_0002.JPG": photo_bytes(1200, 1100, seed=2),
        "small.jpg": photo_bytes(640, 480, seed=3),
    }
    fill_bytes(folder, photos)
    images = commit_images(store, DROP, folder)
    commit(store, draft_tiles(images, DROP, make_grid(SIDE)))
    rows = open_table(store, "tiles").read(DROP).to_pylist()
    of_path = {path: [row for row in rows if row["path"] == path] for path in photos}
    south, second, small = of_path.values()
    picked = [south[0], south[9], second[3], second[-1], small[0]]
    chosen = tuple(_choose(rank, row) for rank, row in enumerate(picked, start=1))
    pictures = {
        tile.picture: _cut(folder, tile, row) for tile, row in zip(chosen, picked, strict=True)
    }
    commit_chosen(store, chosen, pictures)
    return LabelWorld(store, folder, chosen)


def commit_chosen(
    store: ObjectStore,
    chosen: tuple[ChosenTile, ...],
    pictures: Mapping[str, bytes],
    *,
    name: str = ROUND,
    space: str = SPACE,
) -> None:
    def produce():
        yield make_batch(chosen, SCHEMA)
        yield NamedBytes(SHEET, b"sheet")
        for file, data in pictures.items():
            yield NamedBytes(file, data)

    recipe = Recipe(OutputId("selections", name, space), "1", {"tiles": len(chosen)})
    commit(store, Draft(recipe, pushing(produce), SCHEMA))


def _choose(rank: int, row: dict) -> ChosenTile:
    names = ("tile_id", "image_id", "path", "x", "y", "w", "h")
    return ChosenTile(
        round=1,
        rank=rank,
        drop=DROP,
        **{name: row[name] for name in names},
        reason="farthest",
        cluster=None,
        distance=None,
        latitude=row["center_latitude"],
        longitude=row["center_longitude"],
    )


def _cut(folder: Path, tile: ChosenTile, row: dict) -> bytes:
    pixels = decode_image((folder / tile.path).read_bytes())
    window = np.array([[tile.x, tile.y, tile.w, tile.h]], np.int32)
    sink = io.BytesIO()
    cut = cut_tiles(pixels, window, SIDE, span_px=row["span_px"])[0]
    Image.fromarray(cut).save(sink, "JPEG", quality=92)
    return sink.getvalue()


def make_crop(
    number: int = 1,
    *,
    window: Window = PLACE,
    class_name: str | None = None,
    boxes: Mapping[str, Window] | None = None,
    shown: tuple[int, int] | None = None,
    side: int = SIDE,
) -> TileCrop:
    """Make a crop as an export has it, without a store."""
    image_id = f"{number:064x}"[::-1]
    place = f"x{window.x:05d}y{window.y:05d}w{window.w:05d}h{window.h:05d}"
    tile_id = f"{image_id[:16]}-{place}-g1"
    frame = CropFrame(window, *(shown or (window.w, window.h)), side, side)
    visible = [
        CropBox(name, f"label-{index}", box, cut)
        for index, (name, box) in enumerate((boxes or {}).items())
        if (cut := frame.to_crop(box))
    ]
    name = f"images/{number:04d}_{tile_id}.jpg"
    return TileCrop(
        name, tile_id, image_id, "ridge", f"p{number}.jpg", frame, "ab" * 16, class_name,
        class_name and f"own-{number}", "tile", tuple(visible),
    )  # fmt: skip
