"""``storage``: where results live."""

from dataclasses import replace

import dagster as dg
from pydantic import Field, PrivateAttr

from dino_assets.settings.environment import find_root, resolve_storage
from dino_assets.settings.records import BRIEF_LIMITS, StorageSettings
from dino_assets.store.objects import ObjectStore, open_store


class StorageResource(dg.ConfigurableResource):
    """A folder, or a bucket whose credentials come from the environment."""

    url: str = Field(
        description=(
            "Where results live: a folder (relative to the folder of dagster.yaml), s3://bucket/prefix, "
            "minio://bucket/prefix (any S3-compatible server) or az://container/prefix."
        ),
    )

    _store: ObjectStore | None = PrivateAttr(default=None)

    def settings(self) -> StorageSettings:
        """The address with its credentials."""
        return resolve_storage(self.url, root=find_root())

    def open(self) -> ObjectStore:
        """The store, opened once."""
        if self._store is None:
            self._store = open_store(self.settings())
        return self._store

    def open_briefly(self) -> ObjectStore:
        """The store for a tick, which Dagster gives a minute and repeats: it waits for no server."""
        return self.open().with_limits(BRIEF_LIMITS)


def override(settings: StorageSettings, **values: object) -> StorageSettings:
    """Settings with every value that was really given."""
    given = {name: value for name, value in values.items() if value is not None}
    return replace(settings, **given)  # type: ignore[arg-type]
