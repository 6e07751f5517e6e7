"""A program: an S3 server of a folder's files that takes as long for a request as one in a data centre.

Called with a host, a port, a folder, a bucket, a prefix and milliseconds; imports nothing of ours. moto, which the
tests use, goes through the whole bucket for every page of a listing: of 50,000 objects a page takes 0.3 s. Here
keys are sorted once, and every request waits for the milliseconds alone.
"""

import bisect
import hashlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

DATE = "Sun, 29 Nov 2026 20:00:00 GMT"
PAGE = 1000


class Objects:
    """What is in the bucket, by key."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.lock = threading.Lock()
        paths = (path for path in folder.rglob("*") if path.is_file())
        self.data = {f"{prefix}/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in paths}
        self.etags = {key: _hash(data) for key, data in self.data.items()}
        self.keys = sorted(self.data)

    def put(self, key: str, data: bytes) -> str:
        with self.lock:
            if key not in self.data:
                bisect.insort(self.keys, key)
            self.data[key], self.etags[key] = data, _hash(data)
            return self.etags[key]

    def delete(self, key: str) -> None:
        with self.lock:
            if self.data.pop(key, None) is not None:
                self.keys.remove(key)

    def list(self, prefix: str, after: str) -> tuple[list[str], bool]:
        start = bisect.bisect_right(self.keys, after) if after else bisect.bisect(self.keys, prefix)
        page = [key for key in self.keys[start : start + PAGE + 1] if key.startswith(prefix)]
        return page[:PAGE], len(page) > PAGE


def _hash(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    """The five requests that a store makes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    objects: Objects
    wait_s: float

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: bytes = b"", etag: str = "", length: int = -1) -> None:
        time.sleep(self.wait_s)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.send_header("Last-Modified", DATE)
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(body)

    def key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self.list(query)
        elif (key := self.key()) in self.objects.data:
            self.answer(200, self.objects.data[key], self.objects.etags[key])
        else:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self) -> None:
        key = self.key()
        if key in self.objects.data:
            self.answer(200, etag=self.objects.etags[key], length=len(self.objects.data[key]))
        else:
            self.answer(404)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, etag=self.objects.put(self.key(), data))

    def do_DELETE(self) -> None:
        self.objects.delete(self.key())
        self.answer(204)

    def list(self, query: dict[str, list[str]]) -> None:
        keys, has_more = self.objects.list(
            query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        )
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-29T20:00:00.000Z</LastModified>"
            f"<ETag>{escape(self.objects.etags[key])}</ETag><Size>{len(self.objects.data[key])}</Size>"
            "</Contents>"
            for key in keys
        )
        token = f"<NextContinuationToken>{keys[-1]}</NextContinuationToken>" if has_more else ""
        self.answer(
            200,
            f"<ListBucketResult><IsTruncated>{str(has_more).lower()}</IsTruncated><KeyCount>{len(keys)}"
            f"</KeyCount>{token}{entries}</ListBucketResult>".encode(),
        )


class Server(ThreadingHTTPServer):
    """Many connections at once."""

    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    host, port, folder, _, prefix, wait_ms = sys.argv[1:]
    Handler.objects = Objects(Path(folder), prefix)
    Handler.wait_s = float(wait_ms) / 1000
    Server((host, int(port)), Handler).serve_forever()
