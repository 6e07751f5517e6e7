"""Stores that misbehave on purpose: they fail, interrupt, kill or lie about the time."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dino_assets.errors import StoreUnavailableError
from dino_assets.store.objects import ObjectInfo, ObjectStore

Hook = Callable[[str, str], None]
WRITES = ("put", "put_chunks", "delete", "move")


def nothing(verb: str, key: str) -> None:
    """The hook that does nothing."""


class WatchedStore(ObjectStore):
    """Passes every call on, with a hook before it and one after it took effect."""

    def __init__(self, inner: ObjectStore, *, before: Hook = nothing, after: Hook = nothing):
        self.inner, self.before, self.after = inner, before, after
        self.url, self.folder = inner.url, inner.folder
        self.chunk_bytes = inner.chunk_bytes

    def _pass_on(self, verb, key, *args, **options):
        self.before(verb, key)
        result = getattr(self.inner, verb)(key, *args, **options)
        if verb == "list":
            result = list(result)
        self.after(verb, key)
        return result

    def put(self, key: str, data: bytes, **options: bool) -> None:
        self._pass_on("put", key, data, **options)

    def settle(self, keys: Iterable[str]) -> None:
        self.inner.settle(keys)

    def put_chunks(self, key: str, chunks: Iterable[bytes]) -> None:
        self._pass_on("put_chunks", key, chunks)

    def get(self, key: str) -> bytes:
        return self._pass_on("get", key)

    def get_tagged(self, key: str) -> tuple[bytes, str | None]:
        self.before("get", key)
        result = self.inner.get_tagged(key)
        self.after("get", key)
        return result

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        return self._pass_on("get_range", key, start=start, length=length)

    def head(self, key: str) -> ObjectInfo:
        return self._pass_on("head", key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(self._pass_on("list", prefix))

    def delete(self, key: str) -> None:
        self._pass_on("delete", key)

    def move(self, key: str, to: str) -> None:
        self._pass_on("move", key, to)


class FlippingStore(WatchedStore):
    """Bits flip on the way: the first ``times`` reads of each key give bytes that do not lie there."""

    def __init__(self, inner: ObjectStore, *, times: int):
        super().__init__(inner)
        self.times, self._reads = times, Counter[str]()

    def get(self, key: str) -> bytes:
        return self._flip(key, super().get(key))

    def get_tagged(self, key: str) -> tuple[bytes, str | None]:
        data, etag = super().get_tagged(key)
        return self._flip(key, data), etag

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        return self._flip(key, super().get_range(key, start=start, length=length))

    def _flip(self, key: str, data: bytes) -> bytes:
        self._reads[key] += 1
        if self._reads[key] > self.times:
            return data
        position = self._reads[key] % len(data)
        return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


class Strike:
    """A hook that acts at the ``n``-th call only."""

    def __init__(self, n: int, act: Hook, *, verbs: tuple[str, ...] | None = None):
        self.n, self.act, self.verbs, self.has_struck = n, act, verbs, False
        self._calls = itertools.count()

    def __call__(self, verb: str, key: str) -> None:
        if (self.verbs is None or verb in self.verbs) and next(self._calls) == self.n:
            self.has_struck = True
            self.act(verb, key)


def fail(verb: str, key: str) -> None:
    """The hook of a store that is down."""
    raise StoreUnavailableError(f"{verb} {key!r}: down, for the test", key=key)


class ClockedStore(WatchedStore):
    """A store with a clock of its own: ``age`` makes all that is there older."""

    def __init__(self, inner: ObjectStore):
        super().__init__(inner, after=self._stamp)
        self.now = datetime.now(UTC)
        self._put_at: dict[str, datetime] = {}

    def _stamp(self, verb: str, key: str) -> None:
        if verb in ("put", "put_chunks"):
            self._put_at[key] = self.now

    def move(self, key: str, to: str) -> None:
        super().move(key, to)
        self._put_at[to] = self.now

    def age(self, by: timedelta) -> None:
        self.now += by

    def head(self, key: str) -> ObjectInfo:
        return replace(super().head(key), modified=self._put_at[key])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return (
            replace(info, modified=self._put_at.get(info.key, self.now))
            for info in super().list(prefix)
        )
