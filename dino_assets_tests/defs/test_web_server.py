"""Links to committed files: a real server opens them, and no other path."""

import http.client
import io
import shlex
import socket
import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette

from dino_assets.defs.file_links import CONTENT_TYPES, SMALL, find_key, link_to
from dino_assets.defs.output_metadata import find_program, metadata_of
from dino_assets.defs.web_server import make_route
from dino_assets.settings.records import StorageSettings
from dino_assets.store.buckets import create_bucket
from dino_assets.store.commits.manifests import manifest_key
from dino_assets.store.commits.protocol import Committed, Draft, NamedBytes, OutputId, Part, Recipe
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.worlds.outputs import pushing
from dino_assets_tests.worlds.servers import HOST

OUTPUT = OutputId("selections", "round-0001", "space1")
SCHEMA = pa.schema([("n", pa.int64())])
FILES = {
    "round-map.html": b"<!doctype html><title>a map</title>",
    "findings.csv": b"path\n\xc3\xbc.jpg\n",
    "model.safetensors": b"weights",
}


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path) -> ObjectStore:
    settings = StorageSettings(url="store", root=tmp_path)
    if request.param == "s3":
        endpoint = request.getfixturevalue("s3_endpoint")
        settings = StorageSettings(
            url="s3://links/here", endpoint=endpoint, access_key="a", secret_key="b", root=tmp_path
        )
        create_bucket(settings)
    return open_store(settings)


@pytest.fixture
def committed(store: ObjectStore) -> Committed:
    rows = pa.record_batch({"n": [1, 2]}, schema=SCHEMA)
    files = [NamedBytes(name, data) for name, data in FILES.items()]
    return commit(store, Draft(Recipe(OUTPUT, "1"), pushing([rows, *files]), SCHEMA))


@pytest.fixture
def port(store: ObjectStore) -> Iterator[int]:
    app = Starlette(routes=[make_route(lambda: store)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def ask(port: int, path: str, *, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Request exactly this path; HTTP clients would normalise it."""
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.putrequest(method, path)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def part(committed: Committed, name: str) -> Part:
    return next(part for part in committed.manifest.parts if part.name == name)


def test_link__serves_the_file_with_its_content_type(committed: Committed, port: int):
    for name in ("round-map.html", "findings.csv"):
        link = link_to(OUTPUT, part(committed, name))
        status, headers, data = ask(port, str(link))
        assert (status, data) == (200, FILES[name])
        assert headers["content-type"] == CONTENT_TYPES[f".{name.rpartition('.')[2]}"]
        assert "content-disposition" not in headers  # it opens, and is not saved
        # A page with file names from outside runs in an origin of its own.
        assert headers["content-security-policy"].startswith("sandbox allow-scripts ")
        assert "allow-same-origin" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert ask(port, str(link), method="HEAD")[0] == 200


def test_link__is_in_the_metadata_of_the_output(committed: Committed, store: ObjectStore):
    values = metadata_of(store, committed, run_id="r")
    assert values["round-map.html"].url == link_to(OUTPUT, part(committed, "round-map.html"))
    assert link_to(OUTPUT, part(committed, "model.safetensors")) is None
    assert values["export"].endswith(
        "dino-assets export selections round-0001 --space space1 --to out/selections/round-0001"
    )


def test_link__reduced_picture(store: ObjectStore, port: int):
    picture = io.BytesIO()
    Image.new("RGB", (1200, 900), "green").save(picture, "JPEG")
    files = [NamedBytes("contact-sheet.jpg", picture.getvalue())]
    result = commit(store, Draft(Recipe(OUTPUT, "2"), pushing(files)))
    link = str(link_to(OUTPUT, part(result, "contact-sheet.jpg")))
    assert ask(port, link)[2] == picture.getvalue()
    status, headers, data = ask(port, link + SMALL)
    assert (status, headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(data)).size == (400, 300)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_link__refuses_other_methods(committed: Committed, port: int, method: str):
    link = str(link_to(OUTPUT, part(committed, "round-map.html")))
    assert ask(port, link, method=method)[0] == 405


def test_link__refuses_other_paths(committed: Committed, store: ObjectStore, port: int):
    page = part(committed, "round-map.html")
    link = str(link_to(OUTPUT, page))
    table = next(each for each in committed.manifest.parts if each.name is None)
    sha256 = page.sha256
    for path in (
        "/files/",
        "/files/selections",
        "/files/selections/round-0001/",
        f"/files/{manifest_key(OUTPUT)}",
        f"/files/{page.key}",
        f"/files/{table.key}",
        f"/files/selections/round-0001/{table.sha256}/x.parquet",
        f"/files/selections/round-0001/{table.sha256}/x.html",
        f"/files/selections/round-0002/{sha256}/x.html",
        f"/files/selections/round-0001/{sha256}/x.png",
        f"/files/selections/round-0001/{sha256.upper()}/x.html",
        f"/files/selections/round-0001/{sha256[:63]}/x.html",
        f"/files/nothing/round-0001/{sha256}/x.html",
        f"/files/selections/round-0001/{sha256}/../x.html",
        f"/files/selections/../selections/round-0001/{sha256}/x.html",
        f"/files/selections/%2e%2e/{sha256}/x.html",
        f"/files/selections/round-0001/{sha256}/a%2fx.html",
        f"/files/selections/round-0001/{sha256}/x%0d%0aSet-Cookie:a.html",
        f"/files/../{page.key}",
        "/files/../../../../../../etc/passwd",
        "/files/%2e%2e/%2e%2e/etc/passwd",
        f"/files//selections/round-0001/{sha256}/x.html",
        f"{link}/",
    ):
        status, headers, data = ask(port, path)
        assert status == 404, path
        assert data not in FILES.values()
        assert "set-cookie" not in headers


def test_link__refuses_damaged_files(committed: Committed, store: ObjectStore, port: int):
    page = part(committed, "round-map.html")
    link = str(link_to(OUTPUT, page))
    store.put(page.key, b"<script>something else</script>")
    status, headers, data = ask(port, link)
    assert (status, headers["cache-control"]) == (410, "no-store")
    assert b"<script>" not in data
    assert f"Run `{shlex.join([*find_program(), 'verify', '--repair'])}`." in data.decode()
    store.delete(page.key)
    assert ask(port, link)[0] == 404


def test_find_key__no_segments():
    assert find_key() is None
    assert find_key("selections", "_", "a" * 64, "x.html", "") is None
