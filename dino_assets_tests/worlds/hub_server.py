"""A Hugging Face Hub on loopback: its protocol for the real client, and misbehaviour on demand.

The Hub answers as ``127.0.0.1``, its storage as ``localhost``: two hosts, as in the real one.
"""

import contextlib
import gzip
import hashlib
import http.server
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Content = bytes | Path
PAGE = b"<html>please log in to the hotel</html>"
SMALL_BYTES = 1000  # what is larger goes through LFS


@dataclass
class Asked:
    """One request as it came, and what was answered."""

    method: str
    host: str
    path: str
    range: str | None
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class Fault:
    """What goes wrong with a file's body: the next ``times`` answers, after ``after`` bytes."""

    kind: str
    times: int
    after: int
    headers: dict[str, str]


@dataclass
class Repository:
    commits: dict[str, dict[str, Content]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    is_gated: bool = False
    hides_listing: bool = True


class HubServer:
    """Repositories, tokens and faults of one server; ``asked`` holds every request."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.granted: dict[str, set[str]] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[Asked] = []
        self.signature = 1
        self.moved: dict[str, str] = {}
        self.redirects_to: str | None = None  # where every file is said to be
        self.gives_codes = self.gives_hashes = True  # not every mirror does
        self.bytes_per_s: float | None = None
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._hashes: dict[Path, str] = {}
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(
        self,
        repo: str,
        files: Mapping[str, Content],
        *,
        branch: str = "main",
        is_gated: bool = False,
        hides_listing: bool = True,
    ) -> str:
        """A commit on a branch, which moves there; returns its hash."""
        repository = self.repositories.setdefault(repo, Repository())
        repository.is_gated, repository.hides_listing = is_gated, hides_listing
        commit = hashlib.sha1(f"{repo}{len(repository.commits)}".encode()).hexdigest()
        repository.commits[commit] = dict(files)
        repository.branches[branch] = commit
        return commit

    def grant(self, token: str, *repos: str) -> None:
        """A token that is valid and may read these gated repositories."""
        self.granted.setdefault(token, set()).update(repos)

    def misbehave(
        self, name: str, kind: str, *, times: int = 1, after: int = 0, **headers: str
    ) -> None:
        """Let the next bodies of a file (or ``listing``) go wrong; faults queue up."""
        http_headers = {key.replace("_", "-"): value for key, value in headers.items()}
        self.faults.setdefault(name, []).append(Fault(kind, times, after, http_headers))

    def bodies(self, name: str) -> list[Asked]:
        """Requests for the content of one file, at whichever host gives it."""
        return [a for a in self.asked if a.method == "GET" and a.path.endswith("/" + name)]

    def next_fault(self, name: str) -> Fault | None:
        with self._lock:
            queue = self.faults.get(name, [])
            if not queue:
                return None
            queue[0].times -= 1
            return queue.pop(0) if queue[0].times <= 0 else queue[0]

    def sha256(self, content: Content) -> str:
        if isinstance(content, bytes):
            return hashlib.sha256(content).hexdigest()
        if content not in self._hashes:
            with content.open("rb") as file:
                self._hashes[content] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[content]

    @contextlib.contextmanager
    def running(self) -> Iterator["HubServer"]:
        handler = type("Handler", (_Handler,), {"hub": self})
        server = _Server(("127.0.0.1", 0), handler)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that went away
            super().handle_error(request, client_address)


def size_of(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def blob_id(content: Content) -> str:
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_lfs(name: str, content: Content) -> bool:
    return name.endswith((".safetensors", ".bin")) or size_of(content) > SMALL_BYTES


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        host = (self.headers["Host"] or "").split(":")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Asked(
            self.command, host, urllib.parse.unquote(url.path), self.headers["Range"], headers
        )
        self.hub.asked.append(self.asked)
        query = urllib.parse.parse_qs(url.query)
        for old, new in self.hub.moved.items():
            if f"/{old}/" in self.asked.path:
                self._say(307, Location=self.path.replace(f"/{old}/", f"/{new}/"))
                return
        if match := re.fullmatch(r"/storage/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", self.asked.path):
            self._storage(*match.groups(), signature=query["signature"][0])
        elif match := re.fullmatch(
            r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/(.+))?", self.asked.path
        ):
            self._api(match[1], match[2] or "revision", match[3] or "main", query)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.asked.path):
            self._resolve(*match.groups())
        else:
            self._say(404)

    def _open(self, repo: str, revision: str, *, is_listing: bool) -> tuple[str, dict] | None:
        """Commit and files, or the refusal that the real Hub gives."""
        token = (self.asked.token or "").removeprefix("Bearer ")
        repository = self.hub.repositories.get(repo)
        if token and token not in self.hub.granted:
            return self._say(401, X_Error_Message="Invalid credentials in Authorization header")
        if repository is None:
            return self._say(404 if token else 401, X_Error_Code="RepoNotFound")
        if repository.is_gated and (repository.hides_listing or not is_listing):
            if not token:
                return self._say(401, X_Error_Code="GatedRepo")
            if repo not in self.hub.granted[token]:
                return self._say(403, X_Error_Code="GatedRepo")
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self._say(404, X_Error_Code="RevisionNotFound")
        return commit, repository.commits[commit]

    def _api(self, repo: str, kind: str, revision: str, query: dict) -> None:
        if (fault := self.hub.next_fault("listing")) and self._failed(fault):
            return None
        if not (commit_and_files := self._open(repo, revision, is_listing=True)):
            return None
        commit, files = commit_and_files
        entries = []
        for name, content in files.items():
            entry: dict = {"size": size_of(content)}
            if is_lfs(name, content):
                entry["lfs"] = {"size": entry["size"], "pointerSize": 134}
                entry["lfs"]["oid" if kind == "tree" else "sha256"] = self.hub.sha256(content)
                blob = hashlib.sha1(name.encode()).hexdigest()
            else:
                blob = blob_id(content)
            names = ("path", "oid") if kind == "tree" else ("rfilename", "blobId")
            entries.append(entry | dict(zip(names, (name, blob), strict=True)) | {"type": "file"})
        if kind == "tree":
            return self._say(200, json.dumps(entries).encode())
        if "blobs" not in query or not self.hub.gives_hashes:
            entries = [{"rfilename": entry["rfilename"]} for entry in entries]
        document = {"id": repo, "sha": commit, "siblings": entries, "private": False, "tags": []}
        return self._say(200, json.dumps(document).encode())

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        if not (commit_and_files := self._open(repo, revision, is_listing=False)):
            return
        commit, files = commit_and_files
        if name not in files:
            self._say(404, X_Error_Code="EntryNotFound")
        elif self.hub.redirects_to is not None:
            self._say(302, Location=self.hub.redirects_to)
        elif is_lfs(name, files[name]):
            self._say(
                302,
                X_Repo_Commit=commit,
                X_Linked_Size=str(size_of(files[name])),
                X_Linked_ETag=f'"{self.hub.sha256(files[name])}"',
                Location=f"http://localhost:{self.hub.port}/storage/{repo}/{commit}/{name}"
                f"?signature={self.hub.signature}",
            )
        else:
            self._body(name, files[name], X_Repo_Commit=commit, ETag=f'"{blob_id(files[name])}"')

    def _storage(self, repo: str, commit: str, name: str, *, signature: str) -> None:
        if int(signature) < self.hub.signature:
            return self._say(403)
        return self._body(name, self.hub.repositories[repo].commits[commit][name])

    def _failed(self, fault: Fault) -> bool:
        """Faults that come instead of an answer."""
        if fault.kind.isdecimal():
            self._say(int(fault.kind), b"later", **fault.headers)
        elif fault.kind == "expired":
            self.hub.signature += 1
            self._say(403)
        elif fault.kind == "page":
            self._say(200, PAGE)
        elif fault.kind == "page, unannounced":
            self._head(200, None, Content_Type="text/html; charset=utf-8")
            self.wfile.write(PAGE)
        elif fault.kind == "packed page":
            self._head(200, None, Content_Encoding="gzip")
            self.wfile.write(gzip.compress(PAGE))
        elif fault.kind == "empty":
            self._say(204)
        else:
            return False
        return True

    def _body(self, name: str, content: Content, **headers: str) -> None:
        fault = self.hub.next_fault(name) if self.command == "GET" else None
        kind = fault.kind if fault else ""
        if fault and self._failed(fault):
            return
        size, start = size_of(content), 0
        if self.asked.range and kind != "ignores range":
            start = int(self.asked.range.removeprefix("bytes=").split("-")[0])
            if start >= size or kind == "refuses range":
                self._say(416, Content_Range=f"bytes */{size}")
                return
            headers["Content_Range"] = f"bytes {start}-{size - 1}/{size}"
        if kind == "other range":
            headers["Content_Range"] = f"bytes {start + 1}-{size - 1}/{size}"
        change = {"wrong length": -7, "too long": 7, "too long, unannounced": 40_000_000}.get(
            kind, 0
        )
        length = None if kind == "too long, unannounced" else size - start + change
        self._head(206 if "Content_Range" in headers else 200, length, **headers)
        if self.command == "GET":
            self._send(content, start, size + change, fault)

    def _send(self, content: Content, start: int, end: int, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        cuts = kind in ("reset", "close", "stall")
        stop = min(end, start + fault.after) if fault and cuts else end
        if isinstance(content, Path) and not self.hub.bytes_per_s and not kind:
            with content.open("rb") as file:
                self.wfile.flush()
                self.asked.sent += self.connection.sendfile(file, start, end - start)
            return
        data = content if isinstance(content, bytes) else content.read_bytes()
        data = data.ljust(end, b"!")
        if kind == "wrong bytes":
            position = max(start, fault.after)
            data = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        step = 2**16
        for offset in range(start, stop, step):
            piece = data[offset : min(offset + step, stop)]
            self.wfile.write(piece)
            self.asked.sent += len(piece)
            if self.hub.bytes_per_s:
                time.sleep(len(piece) / self.hub.bytes_per_s)
        if kind == "stall":
            self.hub.closing.wait(20)
        if kind == "reset":
            # Linger of zero: the kernel sends RST. Bytes in flight may be lost with it, so wait a bit.
            time.sleep(0.05)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        if cuts:
            self.close_connection = True

    def _say(self, status: int, body: bytes = b"", **headers: str) -> None:
        if not self.hub.gives_codes and headers.pop("X_Error_Code", None):
            status = 404
        self._head(status, len(body), **headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, length: int | None, **headers: str) -> None:
        self.asked.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is None:
            self.send_header("Connection", "close")  # the end of the body is the end of the line
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()


@contextlib.contextmanager
def hub_for_test(monkeypatch: Any, tmp_path: Path) -> Iterator[HubServer]:
    """A server that the environment names, a home of its own, and no token of the developer's."""
    import huggingface_hub

    for name in ("TRANSFORMERS_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with HubServer().running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        # What the library read when it was imported: a token file, and whether it may call home.
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
        yield server
        huggingface_hub.close_session()
