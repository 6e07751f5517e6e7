"""The resource ``inbox``: the place where drops arrive."""

from collections.abc import Callable, Iterable

import dagster as dg
from pydantic import Field

from dino_assets.drops.records import Drop
from dino_assets.drops.registering import list_from_inbox, register_drop, register_listing
from dino_assets.drops.registry import inbox_address, read_drop
from dino_assets.drops.sources.opening import open_source
from dino_assets.drops.sources.source import Source
from dino_assets.errors import UnknownDropError
from dino_assets.settings.environment import find_root
from dino_assets.store.objects import ObjectStore


class InboxResource(dg.ConfigurableResource):
    """The folder or bucket prefix whose sub-folders are drops."""

    url: str = Field(
        default="inbox",
        description=(
            "Where drops arrive: a folder (relative to the folder of dagster.yaml) or a bucket prefix. "
            "Drops that were registered from another place keep their own address."
        ),
    )

    flight_days: int = Field(
        default=30,
        ge=1,
        description="Days without new photographs after which flights_are_recent warns.",
    )

    def address(self, name: str) -> str:
        """Return the address that a drop of this name has in the inbox."""
        return inbox_address(self.url, name)

    def register(
        self,
        store: ObjectStore,
        name: str,
        *,
        source: str | None,
        may_replace: bool = False,
        tags: Iterable[str] = (),
    ) -> tuple[Drop, bool]:
        """Register a drop from ``source``; return the drop, and whether anything changed.

        Without ``source``, list the drop's current source again or, for a new drop, its folder in the inbox.
        """
        root = find_root()
        if not source:
            name, listing = list_from_inbox(store, name, inbox=self.url, root=root)
            return register_listing(store, name, listing, may_replace=may_replace, tags=tags)
        return register_drop(
            store, name, source=source, root=root, may_replace=may_replace, tags=tags
        )

    def open(
        self, store: ObjectStore, name: str, *, read: Callable[[str], Drop] | None = None
    ) -> tuple[Drop, Source]:
        """Open a drop and its source; register an unregistered name if the inbox has a folder of this name.

        Such a name may come from a partition key that was added by hand in the UI. ``read`` replaces the
        function that reads the drop's record, for callers that open many drops.

        Raises:
            UnknownDropError: the drop is not registered, and the inbox has no such folder.
        """
        try:
            drop = read(name) if read else read_drop(store, name)
        except UnknownDropError as err:
            try:
                drop, _ = self.register(store, name, source=None)
            except OSError:
                raise err from None
        return drop, open_source(drop.source, root=find_root())
