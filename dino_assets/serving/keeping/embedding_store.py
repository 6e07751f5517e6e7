"""Stored embeddings of the service: find, commit, read, delete, audit.

A new embedding is written in this order: file, sidecar, audit record, answer. A file without a sidecar
does not count as an embedding; a retry writes the same bytes again.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from dino_assets.errors import CorruptObjectError, ObjectNotFoundError
from dino_assets.serving.keeping.embedding_file import Piece
from dino_assets.serving.keeping.records import (
    Action,
    Asker,
    Sidecar,
    audit_key,
    expire,
    file_key,
    find_uri,
    sidecar_key,
    spell_time,
)
from dino_assets.serving.problems import Problem
from dino_assets.store.commits.rereading import read_again
from dino_assets.store.commits.sealing import seal, unseal
from dino_assets.store.objects import ObjectStore

# Up to this size a file is put in one request; above it in pieces, which stay invisible until all are there.
WHOLE_BYTES = 16 * 2**20
PIECE_BYTES = 8 * 2**20
_MOST_REMEMBERED = 100_000


def read_clock() -> datetime:
    """Return the current time (UTC)."""
    return datetime.now(UTC)


class EmbeddingStore:
    """The embeddings in one store."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        retention_days: int,
        now: Callable[[], datetime] = read_clock,
    ) -> None:
        self.store = store
        self.retention_days = retention_days
        self._now = now
        # Ids whose audit record certainly exists. Another process may have been killed after writing the
        # sidecar and before the record, so its embeddings are checked once.
        self._audited: dict[str, None] = {}
        self._lock = threading.Lock()

    def find(self, embedding_id: str) -> date | None:
        """Return the day on which an embedding expires; None if it is missing, expired or damaged.

        This takes one HEAD request. Until the embedding's audit record has been seen once, it takes a few
        more, and a missing audit record is written.
        """
        try:
            info = self.store.head(sidecar_key(embedding_id))
        except ObjectNotFoundError:
            return None
        expires = expire(info.modified, self.retention_days)
        if self._is_over(expires):
            return None
        if embedding_id not in self._audited and not self._complete(embedding_id):
            return None
        return expires

    def commit(
        self,
        embedding_id: str,
        pieces: Iterable[Piece],
        *,
        image_sha256: str,
        about: Mapping[str, Any],
        asker: Asker,
    ) -> Sidecar:
        """Store a file, then its sidecar, then its audit record; return the sidecar."""
        digest, sizes = hashlib.sha256(), [0]

        def watched() -> Iterator[Piece]:
            for piece in pieces:
                digest.update(piece)
                sizes[0] += len(piece)
                yield piece

        self._put(file_key(embedding_id), watched())
        created = self._now()
        sidecar = Sidecar(
            id=embedding_id,
            uri=find_uri(self.store, embedding_id),
            file_sha256=digest.hexdigest(),
            file_bytes=sizes[0],
            created=spell_time(created),
            expires=expire(created, self.retention_days).isoformat(),
            request_id=asker.request_id,
            asker=asker.name,
            image_sha256=image_sha256,
            about=about,
        )
        self.store.put(sidecar_key(embedding_id), seal(asdict(sidecar)))
        self._record(sidecar, "extract", asker, created)
        self._remember(embedding_id)
        return sidecar

    def open(self, embedding_id: str) -> Sidecar:
        """Read the sidecar of an embedding that has not expired.

        Raises:
            Problem: no-embedding, expired, damaged.
        """
        sidecar = self._read_sidecar(embedding_id)
        if sidecar is None:
            raise Problem("no-embedding", f"no embedding has the id {embedding_id!r}")
        if self._is_over(date.fromisoformat(sidecar.expires)):
            raise Problem(
                "expired", f"the embedding expired on {sidecar.expires}; upload the picture again"
            )
        return sidecar

    def record_read(self, sidecar: Sidecar, asker: Asker) -> None:
        """Write the audit record of a read, before the first byte is sent."""
        self._record(sidecar, "read", asker, self._now())

    def read(self, sidecar: Sidecar, *, start: int, length: int) -> Iterator[bytes]:
        """Yield ``length`` bytes of the file from ``start``, in pieces.

        If these are all bytes of the file, its sha256 is checked before the last piece is yielded.

        Raises:
            CorruptObjectError: the bytes differ from the committed ones.
        """
        key, end, digest = file_key(sidecar.id), start + length, hashlib.sha256()
        is_whole = length == sidecar.file_bytes
        while start < end:
            piece = self.store.get_range(key, start=start, length=min(PIECE_BYTES, end - start))
            start += len(piece)
            digest.update(piece)
            is_bad = is_whole and start >= end and digest.hexdigest() != sidecar.file_sha256
            if not piece or is_bad:
                raise CorruptObjectError(
                    f"{key!r} changed in the store. Delete the embedding, and upload the picture again.",
                    store=self.store.url,
                    key=key,
                )
            yield piece

    def delete(self, embedding_id: str, asker: Asker) -> None:
        """Delete an embedding: write the audit record, then delete the sidecar, then the file.

        Raises:
            Problem: no-embedding.
        """
        now = self._now()
        sidecar = self._read_sidecar(embedding_id, is_strict=False)
        if sidecar is None and not self._holds_anything(embedding_id):
            raise Problem("no-embedding", f"no embedding has the id {embedding_id!r}")
        if sidecar is not None:
            self._record(sidecar, "delete", asker, now)
        else:  # a killed request left a file without a sidecar
            key = audit_key(embedding_id, "delete", asker.request_id, spell_time(now))
            about = {
                "action": "delete",
                "embedding_id": embedding_id,
                "by": asker.name or "anybody",
            }
            self.store.put(key, seal({**about, "time": spell_time(now)}))
        with self._lock:
            self._audited.pop(embedding_id, None)
        self.store.delete(sidecar_key(embedding_id))
        self.store.delete(file_key(embedding_id))

    def _is_over(self, expires: date) -> bool:
        return self._now().date() >= expires

    def _put(self, key: str, pieces: Iterator[Piece]) -> None:
        held: list[Piece] = []
        for piece in pieces:
            held.append(piece)
            if sum(map(len, held)) > WHOLE_BYTES:
                self.store.put_chunks(key, _join_pieces(held, pieces))
                return
        self.store.put(key, b"".join(held))

    def _complete(self, embedding_id: str) -> bool:
        """Write the audit record if a killed process did not; return whether the sidecar is whole."""
        sidecar = self._read_sidecar(embedding_id, is_strict=False)
        if sidecar is None:
            return False
        first = Asker(sidecar.asker, sidecar.request_id)
        created = datetime.fromisoformat(sidecar.created)
        key = audit_key(embedding_id, "extract", sidecar.request_id, sidecar.created)
        if not self.store.exists(key):
            self._record(sidecar, "extract", first, created)
        self._remember(embedding_id)
        return True

    def _remember(self, embedding_id: str) -> None:
        with self._lock:
            if len(self._audited) >= _MOST_REMEMBERED:
                del self._audited[next(iter(self._audited))]
            self._audited[embedding_id] = None

    def _record(self, sidecar: Sidecar, action: Action, asker: Asker, when: datetime) -> None:
        key = audit_key(sidecar.id, action, asker.request_id, spell_time(when))
        self.store.put(key, seal(sidecar.to_audit(action, asker, when)))

    def _read_sidecar(self, embedding_id: str, *, is_strict: bool = True) -> Sidecar | None:
        """Read an embedding's sidecar; return None if it is missing.

        A damaged sidecar raises the problem ``damaged`` if ``is_strict``; otherwise it counts as missing.
        """
        key = sidecar_key(embedding_id)
        try:
            body = read_again(lambda: unseal(self.store.get(key), store=self.store.url, key=key))
            return Sidecar.from_body(body)
        except ObjectNotFoundError:
            return None
        except (CorruptObjectError, LookupError):
            if is_strict:
                raise Problem("damaged") from None
            return None

    def _holds_anything(self, embedding_id: str) -> bool:
        return any(self.store.exists(key(embedding_id)) for key in (sidecar_key, file_key))


def _join_pieces(held: list[Piece], rest: Iterator[Piece]) -> Iterator[bytes]:
    while held:
        yield bytes(held.pop(0))
    yield from map(bytes, rest)
