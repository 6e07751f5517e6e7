"""Bad upload bodies: too long, too short, stalled, malformed. None costs memory, a file or a 500."""

import contextlib
import json
import socket
import tempfile
import time
from collections.abc import Iterator

import pytest

from dino_assets.serving.requests.bodies import BodyLimits
from dino_assets.serving.requests.multipart import MOST_FIELDS, clean_name
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.serving import Served, form_request, make_settings, wait_until

PHOTO = photo_bytes(16, 16, kind="PNG")


@pytest.fixture
def served(serve: Serve, tmp_path) -> Served:
    """A service with limits of 1 MB and half a second of silence."""
    served = serve(settings=make_settings(tmp_path, upload_bytes=10**6))
    served.running.limits = BodyLimits(10**6, silence_s=0.5, least_bytes_per_s=100_000)
    return served


def head(length: int | None, *, kind: str = "multipart/form-data; boundary=b") -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n{size}\r\n\r\n".encode()


def part(name: str, data: bytes = b"x", *, filename: str | None = None, more: str = "") -> bytes:
    filename_field = f'; filename="{filename}"' if filename is not None else ""
    return (
        f'--b\r\nContent-Disposition: form-data; name="{name}"{filename_field}\r\n{more}\r\n'.encode()
        + data
        + b"\r\n"
    )


FILE = part("file", PHOTO, filename="a.png")


def read_answer(line: socket.socket) -> tuple[int, dict]:
    """Read one answer's status and members."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = line.recv(65536)
        assert piece, data
        data += piece
    start, _, body = data.partition(b"\r\n\r\n")
    size = int(start.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < size:
        body += line.recv(65536)
    return int(start.split()[1]), json.loads(body)


def send(served: Served, *pieces: bytes) -> tuple[int, str]:
    with served.connect() as line:
        for piece in pieces:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.sendall(piece)
        status, answer = read_answer(line)
    return status, answer.get("slug", "")


def post(served: Served, *parts: bytes, kind: str = "multipart/form-data; boundary=b") -> tuple[int, str]:  # fmt: skip
    body = b"".join(parts)
    return send(served, head(len(body), kind=kind), body)


END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("parts", "status", "slug"),
    [
        ([FILE, END], 200, ""),
        ([part("tokens", b"cls"), FILE, part("dtype", b"fp32"), END], 200, ""),
        ([END], 422, "no-file"),
        ([part("tokens", b"cls"), END], 422, "no-file"),
        ([part("file", PHOTO), END], 422, "no-file"),
        ([FILE, FILE, END], 422, "unknown-field"),
        ([part("image", PHOTO, filename="a.png"), END], 422, "unknown-field"),
        ([part("url", b"http://169.254.169.254/"), FILE, END], 422, "unknown-field"),
        ([part("tokens", b"cls"), part("tokens", b"cls"), FILE, END], 422, "unknown-field"),
        ([FILE, part("tokens", b"x" * 2000), END], 422, "unknown-field"),
        ([part(f"f{n}") for n in range(10_000)] + [END], 422, "unknown-field"),
        ([part("file", b"", filename="a.png"), END], 422, "unusable-picture"),
        ([part("file", b"GIF89a", filename="a.png"), END], 422, "unusable-picture"),
        ([FILE], 400, "malformed-body"),
        ([b"no form at all"], 400, "malformed-body"),
        ([b""], 400, "malformed-body"),
        ([b"--b\r\n\r\nx\r\n", END], 400, "malformed-body"),
        ([b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n", END], 400, "malformed-body"),
        ([part("file", PHOTO, filename="a", more=f"X: {'y' * 10**6}\r\n")], 400, "malformed-body"),
        ([part("file", PHOTO, filename="a", more="X: y\r\n" * 10_000), END], 400, "malformed-body"),
    ],
)
def test_embed__malformed_forms(served, parts, status, slug):
    assert post(served, *parts) == (status, slug)
    assert served.running.room.held_bytes == 0


@pytest.mark.parametrize(
    ("kind", "status", "slug"),
    [
        ("application/json", 415, "not-a-form"),
        ("image/jpeg", 415, "not-a-form"),
        ("", 415, "not-a-form"),
        ("multipart/form-data", 400, "malformed-body"),
        (f"multipart/form-data; boundary={'b' * 5000}", 400, "malformed-body"),
        ("multipart/mixed; boundary=b", 415, "not-a-form"),
    ],
)
def test_embed__wrong_content_types(served, kind, status, slug):
    assert post(served, FILE, END, kind=kind) == (status, slug)


def test_embed__declared_length_too_large_is_refused_at_once(served):
    assert send(served, head(10**12)) == (413, "body-too-large")


def chunked(size: int) -> Iterator[bytes]:
    yield b"%x\r\n" % len(FILE[:-2]) + FILE[:-2] + b"\r\n"
    for _ in range(size // 10_000):
        yield b"2710\r\n" + b"x" * 10_000 + b"\r\n"


def test_embed__endless_chunked_body(served):
    assert send(served, head(None), *chunked(3 * 10**6)) == (413, "body-too-large")
    assert served.running.room.held_bytes == 0


def test_embed__file_too_large_in_a_body_within_limits(served):
    status, slug = post(served, part("file", b"x" * (10**6 + 1), filename="a.png"), END)
    assert (status, slug) == (413, "body-too-large")


def test_embed__body_that_stalls(served):
    """The limit is 30 s by default, half a second here."""
    with served.connect() as line:
        line.sendall(form_request(PHOTO)[:-50])
        started = time.monotonic()
        status, answer = read_answer(line)
        assert (status, answer["slug"]) == (408, "body-timeout")
        assert time.monotonic() - started >= 0.4
        assert line.recv(10) == b""  # closed, so late bytes are not read as a request
    assert BodyLimits(1).silence_s == 30


def test_embed__body_that_trickles(served):
    """The client sends a byte often enough, and never ends."""
    request = form_request(photo_bytes(200, 200, kind="PNG"))
    served.running.limits = BodyLimits(10**6, silence_s=0.3, least_bytes_per_s=10_000)
    with served.connect() as line:
        line.sendall(request[:1000])
        line.settimeout(0.05)
        answer, offset = b"", 1000
        while not answer:
            with contextlib.suppress(TimeoutError):
                line.sendall(request[offset : offset + 20])
                offset += 20
                answer = line.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert offset < 5000


def test_embed__declared_length_too_short(served):
    """Bytes after the declared length are not read as a valid second request."""
    body = FILE + END
    with served.connect() as line:
        line.sendall(head(len(body) - 30) + body)
        # Either the service refuses the form, or the server refuses the rest as an invalid request.
        assert line.recv(100).startswith(b"HTTP/1.1 400 ")
    assert served.embed(PHOTO).status_code == 200


@pytest.mark.parametrize(
    "garbage", [b"\0" * 100, b"GET\r\n\r\n", b"POST /embed HTTP/9.9\r\n\r\n", b"\x16\x03\x01" * 30]
)
def test_server__bytes_that_are_not_http(served, garbage):
    with served.connect() as line:
        line.sendall(garbage)
        assert line.recv(100).startswith(b"HTTP/1.1 400 ")
    assert served.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("\x1b[31mred\x00", "[31mred"),
        ("Überflug 1.jpg", "Überflug 1.jpg"),
        ("x" * 5000, "x" * 255),
        ("..", ".."),
        ("/", ""),
    ],
)
def test_clean_name__last_part_of_a_path(given, cleaned):
    assert clean_name(given) == cleaned


def test_embed__file_names_appear_in_no_object_key_or_header(served, local_store):
    answer = served.embed(PHOTO, "../../x").json()
    assert answer["metadata"]["filename"] == "x"
    raw = part("file", PHOTO, filename="a%0d%0aX-Evil: 1.png")
    assert post(served, raw, END)[0] == 200
    keys = [info.key for info in local_store.list()]
    assert all(key.startswith(("embed_", "audit/")) for key in keys)
    folder = local_store.folder
    assert sorted(path.name for path in folder.parent.iterdir()) == ["store"]


def test_embed__writes_no_temporary_file(serve: Serve, tmp_path, monkeypatch):
    """Neither does a large upload: the temporary folder is unusable and its path never requested."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, fail)
    served = serve()
    photo = photo_bytes(1000, 1000, kind="PNG")
    assert len(photo) > 2 * 10**6
    assert served.embed(photo, tokens="mean").status_code == 200


def test_embed__limits_all_uploads_together(served):
    """Fifty endless bodies hold at most 1 MB each, and free it."""
    with contextlib.ExitStack() as lines:
        for _ in range(50):
            line = lines.enter_context(served.connect())
            line.sendall(head(500_000) + FILE[:-2])
        wait_until(lambda: served.running.room.held_bytes == 25 * 10**6)
        wait_until(lambda: served.running.room.held_bytes == 0)  # 408 for all
    assert served.embed(PHOTO).status_code == 200
    assert MOST_FIELDS < 100
