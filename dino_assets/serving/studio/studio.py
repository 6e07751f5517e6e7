"""What the studio works with: the store, its tables, all answers, and pictures."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dino_assets.drops.records import Drop
from dino_assets.drops.registry import find_drops
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import Source
from dino_assets.errors import SourceError
from dino_assets.serving.studio.answer_book import AnswerBook
from dino_assets.serving.studio.pictures import TilePictures
from dino_assets.serving.studio.problems import StudioProblem
from dino_assets.serving.studio.tile_lookup import TileLookup
from dino_assets.store.commits.listing import list_spaces
from dino_assets.store.commits.mapped import MappedParts
from dino_assets.store.objects import ObjectStore

_SPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Studio:
    """What the studio shows of a project: its store, tiles, answers and pictures."""

    store: ObjectStore
    lookup: TileLookup
    book: AnswerBook
    pictures: TilePictures

    @property
    def spaces(self) -> Sequence[str]:
        """The spaces that tiles are embedded in; the one with the latest map or round comes first."""
        return list_spaces(self.store, "embeddings")

    def choose_space(self, given: object) -> str | None:
        """Return the space that a request names, or else the first one that has a map, or any.

        Raises:
            StudioProblem: what is given cannot be the name of a space; 422.
        """
        if given is not None and given != "":
            if not isinstance(given, str) or not _SPACE.fullmatch(given):
                detail = f"space is {given!r:.100}; expected letters, digits, - and _"
                raise StudioProblem(422, "unexpected-space", detail)
            return given
        mapped = list_spaces(self.store, "projections")
        spaces = [*mapped, *self.spaces]
        return spaces[0] if spaces else None

    def describe_state(self, by: str) -> dict[str, Any]:
        """Describe what the page shows everywhere: classes, people, disagreements, and the person's pace."""
        pace = self.book.measure_pace(by)
        return {
            # So that answers which a browser could not save yet never go to another project.
            "project": hashlib.sha256(self.store.url.encode()).hexdigest()[:12],
            "classes": self.book.count_classes(),
            "people": self.book.count_people(),
            "conflicts": len(self.book.merged.conflicts),
            "labels": len(self.book.merged.labels),
            "seconds_per_answer": pace.seconds,
            "measured": pace.measured,
            "spaces": {
                "embeddings": list(self.spaces),
                "projections": list_spaces(self.store, "projections"),
                "probes": list_spaces(self.store, "probes"),
            },
        }


def open_studio(store: ObjectStore, *, root: Path, cache: Path) -> Studio:
    """Open the studio of a project, and read all answers.

    Raises:
        CorruptObjectError: a stored answer is damaged.
        StoreError: the store cannot be read.
    """

    def open_drop(name: str) -> Source:
        drop = find_drops(store).get(name)
        if not isinstance(drop, Drop):
            raise SourceError(
                f"drop {name!r} has a missing or damaged record, so its photographs cannot be opened. Register it "
                "again with `dino-assets drops register`.",
                reason="no-record",
                path=name,
            )
        return open_source(drop.source, root=root)

    book = AnswerBook(store)
    book.refresh()
    pictures = TilePictures(open_drop, cache / "studio")
    return Studio(store, TileLookup(store, MappedParts(cache / "tables")), book, pictures)
