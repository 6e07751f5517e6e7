"""Requests to a store through obstore, with retries and this package's errors."""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import obstore
from obstore import exceptions as obstore_errors
from obstore.store import AzureStore

from dino_assets.errors import ObjectNotFoundError, StoreUnavailableError
from dino_assets.settings.records import RequestLimits
from dino_assets.store.backends import MOST_PIECE_BYTES
from dino_assets.store.failures import (
    explain,
    explain_connection_fault,
    explain_response,
    is_temporary,
)
from dino_assets.store.retrying import NEVER, Retries
from dino_assets.store.uploading import Uploader

if TYPE_CHECKING:
    from obstore import GetOptions

T = TypeVar("T")
# Larger objects are sent by ``Uploader``: on a slow network, obstore's time limit would end such an upload
# while bytes still move.
QUICK_BYTES = 256 * 2**10
_LEAST_PIECE_BYTES = 5 * 2**20  # S3's minimum piece of a multipart upload
_READ_BYTES = 2**20  # read at a time; an interrupted read resumes after the last complete piece
_SIGNED_FOR = timedelta(hours=12)


class Requests:
    """Requests to one folder or bucket that obstore opened.

    ``open_for_pieces`` opens the bucket a second time, for uploads of several requests each.
    """

    def __init__(
        self,
        backend: Any,
        *,
        url: str,
        is_local: bool,
        limits: RequestLimits | None = None,
        open_for_pieces: Callable[[], Any] | None = None,
    ) -> None:
        self.backend = backend
        self._url = url
        self._is_local = is_local
        self._is_bucket = limits is not None
        self._limits = limits or NEVER
        self._open_for_pieces = open_for_pieces
        self._of_pieces: Any = None
        self._uploader = Uploader(self._limits)
        self._takes_signed = True

    def call(
        self, verb: str, key: str, call: Callable[..., T], *arguments: Any, **options: Any
    ) -> T:
        """Make a request, with retries. ``call`` gets obstore's store and the key as its first arguments."""
        retries = Retries(self._limits)
        while True:
            try:
                return self._once(verb, key, call, self.backend, key, *arguments, **options)
            except StoreUnavailableError as err:
                failure = err
            retries.wait(failure)

    def put(self, key: str, data: bytes, *, mode: str) -> None:
        """Put an object in one request, so that a killed writer leaves no partial object.

        A multipart upload would not be atomic: a writer killed meanwhile leaves a file ``name#1`` on a local
        disk.
        """
        options = {"mode": mode, "use_multipart": False}
        if not self._is_bucket or len(data) <= QUICK_BYTES or mode != "overwrite":
            self.call("put", key, obstore.put, data, **options)
            return
        retries = Retries(self._limits)
        while True:
            try:
                if not (self._takes_signed and self._upload(key, data, retries)):
                    self._once("put", key, obstore.put, self._for_pieces(), key, data, **options)
                    self._takes_signed = False  # otherwise every later object would be sent twice
                return
            except StoreUnavailableError as err:
                failure = err
            retries.wait(failure, lost_bytes=True)

    def put_chunks(self, key: str, chunks: Iterable[bytes], *, piece_bytes: int) -> None:
        """Put an object of any size in pieces; obstore itself repeats failed pieces."""
        piece_bytes = max(min(piece_bytes, MOST_PIECE_BYTES), _LEAST_PIECE_BYTES)
        options = {"chunk_size": piece_bytes, "max_concurrency": 4}
        self._once("put", key, obstore.put, self._for_pieces(), key, chunks, **options)

    def get_range(self, key: str, *, start: int, end: int) -> bytes:
        """Read the bytes of an object from ``start`` up to ``end``."""
        if self._is_bucket:
            return b"".join(self.stream(key, start=start, end=end))
        return bytes(self.call("get", key, obstore.get_range, start=start, end=end))

    def get_tagged(self, key: str) -> tuple[bytes, str | None]:
        """Read an object and the ETag of the version that was read."""
        if not self._is_bucket:
            return self.call("get", key, _read_tagged)
        tags: list[str | None] = [None]
        data = b"".join(self.stream(key, note_etag=tags.append))
        return data, tags[-1]

    def stream(
        self,
        key: str,
        *,
        start: int = 0,
        end: int | None = None,
        least_bytes: int = _READ_BYTES,
        note_etag: Callable[[str | None], None] = lambda etag: None,
    ) -> Iterator[bytes]:
        """Yield an object's bytes in order; resume an interrupted read where it stopped."""
        retries = Retries(self._limits)
        at, etag = start, None
        while True:
            wanted: dict[str, Any] = {"if_match": etag} if etag else {}
            if at or end is not None:
                wanted["range"] = {"offset": at} if end is None else (at, end)
            try:
                chunks, etag = self._once("get", key, self._open, key, wanted, least_bytes)
                note_etag(etag)
                while (chunk := self._once("get", key, next, chunks, None)) is not None:
                    at += len(chunk)
                    yield bytes(chunk)
                    retries.note_progress()  # after the yield: the caller's own time does not count
                return
            except StoreUnavailableError as err:
                failure = err
            if at == end:
                return  # interrupted after the last byte
            if at > start and not etag:
                raise failure  # without an ETag the rest could belong to a newer object
            retries.wait(failure)

    def list(self, prefix: str, where: str | None) -> Iterator[Any]:
        """Yield the pages of a listing; resume an interrupted listing after the last key of the last page."""
        retries = Retries(self._limits)
        last: str | None = None
        while True:
            try:
                pages = self._once("list", prefix, self._open_listing, where, last)
                while (page := self._once("list", prefix, next, pages, None)) is not None:
                    yield page
                    last = page[-1]["path"] if page else last
                    retries.note_progress()
                return
            except StoreUnavailableError as err:
                failure = err
            retries.wait(failure)

    def move(self, key: str, to: str) -> None:
        """Rename an object. If a response was lost, the retry accepts an object that has moved already."""
        retries = Retries(self._limits)
        is_again = False
        while True:
            try:
                self._once("move", key, obstore.rename, self.backend, key, to)
                return
            except ObjectNotFoundError:
                if not is_again:
                    raise
                self.call("move", key, lambda store, _: obstore.head(store, to))
                return
            except StoreUnavailableError as err:
                failure, is_again = err, True
            retries.wait(failure)

    def _for_pieces(self) -> Any:
        if self._open_for_pieces is None:
            return self.backend
        if self._of_pieces is None:
            self._of_pieces = self._open_for_pieces()
        return self._of_pieces

    def _upload(self, key: str, data: bytes, retries: Retries) -> bool:
        """Put an object through a signed address; return False if obstore has to put it instead."""
        try:
            url = obstore.sign(self.backend, "PUT", key, _SIGNED_FOR)
        except (obstore_errors.BaseError, NotImplementedError, TypeError, ValueError):
            return False  # these credentials cannot sign
        headers = {"x-ms-blob-type": "BlockBlob"} if isinstance(self.backend, AzureStore) else {}
        answer, failure = None, None
        try:
            answer = self._uploader.put(
                url, data, headers=headers, note_progress=retries.note_progress
            )
        except OSError as err:
            failure = explain_connection_fault(err, key=key, store=self._url, url=url)
        if failure is None and answer is not None and is_temporary(answer.status, answer.text):
            failure = explain_response(
                answer.status, answer.reason, answer.text, key=key, store=self._url, url=url
            )
        if failure is not None:
            raise failure  # outside the handler, as in `_once`
        # obstore repeats a refused put, because its error says more.
        return answer is not None and 200 <= answer.status < 300

    def _open(
        self, key: str, wanted: dict[str, Any], least_bytes: int
    ) -> tuple[Iterator[Any], Any]:
        got = obstore.get(self.backend, key, options=cast("GetOptions", wanted))
        return iter(got.stream(min_chunk_size=least_bytes)), got.meta["e_tag"]

    def _open_listing(self, where: str | None, last: str | None) -> Iterator[Any]:
        return iter(obstore.list(self.backend, where, offset=last, chunk_size=1000))

    def _once(
        self, verb: str, key: str, call: Callable[..., T], *arguments: Any, **options: Any
    ) -> T:
        try:
            return call(*arguments, **options)
        except (obstore_errors.BaseError, OSError, ValueError) as err:
            failure = explain(err, verb=verb, key=key, store=self._url, is_local=self._is_local)
        # Raised outside the handler: even a suppressed context would keep obstore's text.
        raise failure


def _read_tagged(store: Any, key: str) -> tuple[bytes, str | None]:
    got = obstore.get(store, key)
    return got.bytes().to_bytes(), got.meta["e_tag"]
