"""Bucket prefix as a source: listing and reading objects."""

import errno
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

from dino_assets.drops.cards import find_label
from dino_assets.drops.records import MAX_FILE_BYTES, SourceEntry
from dino_assets.drops.sources.folders import cannot_read, too_large
from dino_assets.drops.sources.progress import Tally
from dino_assets.errors import DiskFullError, ObjectNotFoundError, SourceError, StoreError
from dino_assets.store.objects import ObjectStore


class BucketSource:
    """A bucket prefix as a source.

    An object that a library must open as a file is first copied to the folder ``scratch``, by default the
    system's temporary folder. ``measure_free`` returns a folder's free bytes.
    """

    is_list = False

    def __init__(
        self,
        store: ObjectStore,
        *,
        scratch: Path | None = None,
        measure_free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self.store = store
        self.scratch = scratch
        self.measure_free = measure_free

    def entries(self) -> list[SourceEntry]:
        """List all objects below the prefix; an object that only marks a folder is listed as an empty file.

        Raises:
            SourceError: one key cannot be a path; obstore then lists nothing at all.
            StoreError: the bucket cannot be listed.
        """
        try:
            listed = [
                SourceEntry(
                    info.key,
                    info.bytes,
                    info.etag or info.modified.isoformat(),
                    label=find_label(info.key),
                )
                for info in Tally(self.store.url, "objects listed").count(self.store.list())
            ]
        except StoreError as err:
            if err.reason != "odd-key":
                raise
            raise SourceError(
                f"{self.store.url!r} cannot be listed because of the key "
                f"{err.odd_key!r}: one of its parts (separated by slashes) is empty, '.' or '..', or "
                "contains a control character. Rename or remove this object.",
                reason="odd-key",
                path=err.odd_key,
            ) from err
        listed.sort(key=attrgetter("path"))
        return listed

    def read(self, path: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Read one object's bytes.

        Raises:
            SourceError: the object is gone, or has more than ``max_bytes``.
        """
        # BytesIO grows in place; joining a list of chunks would keep a mosaic in memory twice.
        data = io.BytesIO()
        for chunk in self._stream(path):
            if data.tell() + len(chunk) > max_bytes:
                raise too_large(path, max_bytes)
            data.write(chunk)
        return data.getvalue()

    @contextmanager
    def open_file(self, path: str) -> Iterator[Path]:
        """Copy an object to an unnamed temporary file, and yield a path to it.

        The file disappears when the context or the process ends.

        Raises:
            SourceError: the object is gone.
            DiskFullError: the temporary folder has too little room.
        """
        folder = self.scratch or Path(tempfile.gettempdir())
        try:
            needed = self.store.head(path).bytes
        except ObjectNotFoundError as err:
            raise _gone(path) from err
        free = self.measure_free(folder)
        if free < needed:
            raise _no_room(path, needed, free)
        # Unbuffered: closing a buffered file on a full disk would fail again, with a worse message.
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            try:
                for chunk in self._stream(path):
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[file.write(rest) :]
            except OSError as err:
                if err.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise _no_room(path, needed, self.measure_free(folder)) from err
            yield Path(f"/dev/fd/{file.fileno()}")

    def _stream(self, path: str) -> Iterator[bytes]:
        try:
            yield from self.store.stream(path)
        except ObjectNotFoundError as err:
            raise _gone(path) from err


def _gone(path: str) -> SourceError:
    return cannot_read(path, "the object does not exist any more", reason="missing")


def _no_room(path: str, needed: int, free: int) -> DiskFullError:
    return DiskFullError(
        f"no room to copy {path!r} from its bucket: it has {needed / 1e9:,.2f} GB, and the folder for "
        f"temporary files has {free / 1e9:,.2f} GB free. Make room, or set TMPDIR to a folder on a larger "
        "disk.",
        needed_bytes=needed,
        free_bytes=free,
    )
