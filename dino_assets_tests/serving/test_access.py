"""Access control: keys and scopes, requests from this machine, pages of other origins."""

import hmac

import pytest

from dino_assets.serving.problems import Problem
from dino_assets.serving.requests import access
from dino_assets.serving.requests.access import find_asker, is_loopback
from dino_assets.settings.api_keys import parse_keys
from dino_assets.settings.records import ServingSettings
from dino_assets.store.commits.sealing import unseal
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.serving import make_settings, noting_lines, wait_until

READ, ADMIN, OTHER = "r" * 20, "a" * 20, "o" * 20
KEYS = parse_keys(f"reader:{READ}:read,admin:{ADMIN}:embed+read+delete,camera:{OTHER}", setting="K")
LOCKED = ServingSettings(keys=KEYS)
PLAIN, OPEN = ServingSettings(), ServingSettings(is_open=True)
PHOTO = photo_bytes(16, 16, kind="PNG")


def ask(settings: ServingSettings, *, client: str = "10.0.0.9", scope: str = "embed", **headers: str) -> str:  # fmt: skip
    http_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return find_asker(http_headers, client=client, scope=scope, settings=settings)


@pytest.mark.parametrize(
    ("key", "scope", "name"),
    [
        (ADMIN, "embed", "admin"),
        (ADMIN, "delete", "admin"),
        (READ, "read", "reader"),
        (OTHER, "embed", "camera"),
    ],
)
def test_find_asker__returns_the_keys_name(key, scope, name):
    assert ask(LOCKED, scope=scope, authorization=f"Bearer {key}") == name
    assert ask(LOCKED, scope=scope, authorization=f"bearer  {key} ") == name
    assert ask(LOCKED, scope=scope, x_api_key=key) == name


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {ADMIN}"},
        {"authorization": f"Bearer {ADMIN}x"},
        {"authorization": f"Bearer {ADMIN[:-1]}"},
        {"x_api_key": "admin"},
        {"x_api_key": "é" * 20},
    ],
)
def test_find_asker__without_a_key_refuses(headers):
    with raising(Problem, slug="key-needed"):
        ask(LOCKED, client="127.0.0.1", host="localhost", **headers)


@pytest.mark.parametrize(("key", "scope"), [(READ, "embed"), (READ, "delete"), (OTHER, "delete")])
def test_find_asker__a_scope_that_the_key_lacks(key, scope):
    with raising(Problem, slug="scope-lacking", hides=key):
        ask(LOCKED, scope=scope, x_api_key=key)


@pytest.mark.parametrize("given", ["", READ, ADMIN, OTHER, "nobody's" * 9])
def test_find_key__compares_every_key(given):
    """The time must not reveal a match: all digests are compared, and all have one length."""
    pairs: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        pairs.append((one, other))
        return hmac.compare_digest(one, other)

    access.find_key(given, KEYS, compare=compare)
    assert [digest for digest, _ in pairs] == [key.sha256 for key in KEYS]
    assert {len(each) for pair in pairs for each in pair} == {32}
    assert access.find_key.__kwdefaults__ == {"compare": hmac.compare_digest}


@pytest.mark.parametrize(
    ("client", "host", "is_allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "localhost", True),
        ("127.8.9.1", "localhost:8000", True),
        ("::1", "[::1]:8000", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("", "localhost", True),  # a Unix socket
        ("10.0.0.9", "localhost", False),
        ("172.17.0.1", "127.0.0.1", False),
        ("::ffff:10.0.0.9", "localhost", False),
        (
            "127.0.0.1",
            "evil.example",
            False,
        ),  # a web page's host name that resolves to this machine
        ("127.0.0.1", "[", False),
    ],
)
def test_find_asker__without_keys_only_this_machine(client, host, is_allowed):
    if is_allowed:
        assert ask(PLAIN, client=client, host=host) == ""
    else:
        with raising(Problem, slug="this-machine-only"):
            ask(PLAIN, client=client, host=host)
    assert ask(OPEN, client=client, host=host) == ""


def test_is_loopback__names_and_addresses():
    assert is_loopback("localhost")
    assert not is_loopback("localhost.example")


@pytest.mark.parametrize("settings", [PLAIN, OPEN, LOCKED])
def test_find_asker__refuses_a_form_of_a_foreign_page(settings):
    arguments = {"host": "127.0.0.1:8000", "client": "127.0.0.1", "x_api_key": ADMIN}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        with raising(Problem, slug="foreign-page"):
            ask(settings, origin=origin, **arguments)
    ask(settings, origin="http://127.0.0.1:8000", **arguments)
    cors_settings = ServingSettings(
        keys=settings.keys, is_open=True, cors_origins=("https://ours.example",)
    )
    ask(cors_settings, origin="https://ours.example", **arguments)


@pytest.fixture
def locked(serve: Serve, tmp_path):
    return serve(settings=make_settings(tmp_path, keys=KEYS))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_routes__each_needs_its_scope(locked):
    files = {"file": ("a.png", PHOTO)}
    client = locked.client
    assert client.post("/embed", files=files).status_code == 401
    assert client.post("/embed", files=files).headers["www-authenticate"] == "Bearer"
    assert client.post("/embed", files=files, headers=bearer(READ)).status_code == 403
    answer = client.post("/embed", files=files, headers=bearer(OTHER)).json()
    path = f"/embeddings/{answer['id']}"
    assert client.get(path).status_code == 401
    assert client.get(path, headers=bearer(READ)).status_code == 200
    assert client.delete(path, headers=bearer(READ)).status_code == 403
    assert client.delete(path, headers=bearer(ADMIN)).status_code == 204
    for open_to_all in ("/health", "/ready", "/metrics", "/openapi.json"):
        assert client.get(open_to_all).status_code == 200


def test_routes__log_and_audit_name_the_caller_without_the_key(locked, local_store):
    files = {"file": ("a.png", PHOTO)}
    with noting_lines() as lines:
        answer = locked.client.post("/embed", files=files, headers=bearer(OTHER)).json()
        locked.client.post("/embed", files=files, headers=bearer("x" * 30))
        wait_until(lambda: len(lines) == 2)  # written after the answer
    assert [line.get("key") for line in lines] == ["camera", None]
    (record,) = list(local_store.list("audit"))
    assert unseal(local_store.get(record.key), store="", key="")["by"] == "camera"
    outputs = [local_store.get(info.key) for info in local_store.list()]
    outputs += [repr(lines).encode(), locked.client.get("/metrics").content]
    outputs.append(repr(answer).encode())
    assert not [data for data in outputs if OTHER.encode() in data or b"x" * 30 in data]


def test_routes__every_answer_has_the_security_headers(locked):
    for path in ("/health", "/embed", "/nowhere", "/embeddings/0", "/metrics"):
        answer = locked.client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert len(answer.headers["x-request-id"]) == 32


PREFLIGHT = {"origin": "https://ours.example", "access-control-request-method": "POST"}


def test_cors__only_configured_origins(serve: Serve, tmp_path):
    plain = serve()
    assert plain.client.options("/embed", headers=PREFLIGHT).status_code == 405
    served = serve(settings=make_settings(tmp_path, cors_origins=("https://ours.example",)))
    answer = served.client.options("/embed", headers=PREFLIGHT)
    assert answer.headers["access-control-allow-origin"] == "https://ours.example"
    other_answer = served.client.options(
        "/embed", headers={**PREFLIGHT, "origin": "https://evil.example"}
    )
    assert "access-control-allow-origin" not in other_answer.headers
    health = served.client.get("/health", headers={"origin": "https://ours.example"})
    assert health.headers["access-control-allow-origin"] == "https://ours.example"


def test_routes__a_client_behind_a_proxy_is_not_this_machine(serve: Serve):
    """A proxy on this machine sends X-Forwarded-For; uvicorn accepts it from allowed proxies."""
    files = {"file": ("a.png", PHOTO)}
    answer = serve().client.post("/embed", files=files, headers={"x-forwarded-for": "203.0.113.7"})
    assert (answer.status_code, answer.json()["slug"]) == (403, "this-machine-only")
