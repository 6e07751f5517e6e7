"""The resource ``storage``: the store of all results."""

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
            "Where results are stored: a folder (relative to the folder of dagster.yaml), "
            "s3://bucket/prefix, minio://bucket/prefix (any S3-compatible server) or az://container/prefix."
        ),
    )

    _store: ObjectStore | None = PrivateAttr(default=None)

    def settings(self) -> StorageSettings:
        """Return the address and the credentials of the storage."""
        return resolve_storage(self.url, root=find_root())

    def open(self) -> ObjectStore:
        """Open the store; repeated calls return the same store."""
        if self._store is None:
            self._store = open_store(self.settings())
        return self._store

    def open_briefly(self) -> ObjectStore:
        """Open the store for a sensor tick, with short timeouts.

        Dagster ends a tick after a minute and repeats it, so the tick must not wait for a server.
        """
        return self.open().with_limits(BRIEF_LIMITS)


def override(settings: StorageSettings, **values: object) -> StorageSettings:
    """Replace settings by the given values; a value of None keeps the setting."""
    present = {name: value for name, value in values.items() if value is not None}
    return replace(settings, **present)  # type: ignore[arg-type]
