"""SIGKILL at every step of a request, then a retry: the embedding is whole or absent, never answered early."""

import io
import signal
from pathlib import Path

import httpx
import numpy as np
import pytest

from dino_assets.images.decoding import decode_image
from dino_assets.serving.requests.options import EmbedOptions
from dino_assets.serving.requests.planning import plan_upload
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.sealing import unseal
from dino_assets.store.objects import open_store
from dino_assets.tiles.grid import cut_tiles
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.serving.conftest import Place
from dino_assets_tests.worlds.serving import SMALL, paint
from dino_assets_tests.worlds.serving_process import POINTS, forked_service

PHOTO = photo_bytes(40, 40, kind="PNG")
PLAN = plan_upload(PHOTO, EmbedOptions(), SMALL)
QUICK = ("last tile", "after put npz", "after put json")


# ``verify=False`` below: httpx reads all certificates for every call, and these addresses are http.
def post(url: str) -> httpx.Response:
    return httpx.post(f"{url}/embed", files={"file": ("a.png", PHOTO)}, timeout=60, verify=False)


def is_right(data: bytes) -> bool:
    """Check whether a file is the whole embedding."""
    with np.load(io.BytesIO(data)) as arrays:
        tiles = cut_tiles(decode_image(PHOTO), PLAN.windows, 16, span_px=PLAN.span_px)
        expected = paint(tiles)["patches"].astype(np.float16)
        return bool((arrays["embeddings"] == expected).all())


@pytest.mark.parametrize(
    "point", [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in POINTS]
)
def test_kill__leaves_a_whole_embedding_or_none(place: Place, tmp_path: Path, point: str):
    store, environment = place.store, place.environment
    order = {"tiles": PLAN.tiles, "small_pieces": True}
    with forked_service(tmp_path, environment=environment, point=point, **order) as (
        killed_process,
        url,
    ):
        with pytest.raises(httpx.HTTPError):
            post(url)
        assert killed_process.wait(30) == -signal.SIGKILL
    with forked_service(tmp_path, environment=environment, **order) as (process, url):
        path = f"{url}/embeddings/{PLAN.id}"
        answer_before = httpx.get(path, verify=False)
        is_committed = POINTS.index(point) >= POINTS.index("after put json")
        assert answer_before.status_code == (200 if is_committed else 404)
        if is_committed:
            assert is_right(answer_before.content)
        answer = post(url)
        assert answer.status_code == 200
        assert answer.json()["id"] == PLAN.id
        answer_after = httpx.get(path, verify=False)
        assert is_right(answer_after.content)
        assert process.poll() is None
    records = [unseal(store.get(info.key), store="", key="") for info in store.list("audit")]
    assert [each["action"] for each in records].count("extract") == 1
    keys = sorted(info.key for info in store.list() if not info.key.startswith("audit/"))
    assert keys == [f"embed_{PLAN.id}.json", f"embed_{PLAN.id}.npz"]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_kill__during_a_deletion(tmp_path: Path, n: int):
    """After the audit record, the sidecar or the file: the next try completes the deletion."""
    store = open_store(StorageSettings(url="data", root=tmp_path))
    point = ("before delete json", "before delete npz", "after delete npz")[n - 1]
    with forked_service(tmp_path, point=point) as (killed_process, url):
        assert post(url).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.delete(f"{url}/embeddings/{PLAN.id}", verify=False)
        assert killed_process.wait(30) == -signal.SIGKILL
    assert [
        info.key for info in store.list("audit") if "-delete-" in info.key
    ]  # the audit record comes first
    with forked_service(tmp_path) as (_, url):
        path = f"{url}/embeddings/{PLAN.id}"
        assert httpx.get(path, verify=False).status_code == (200 if n == 1 else 404)
        assert httpx.delete(path, verify=False).status_code == (404 if n == 3 else 204)
        assert httpx.get(path, verify=False).status_code == 404
    assert {info.key.partition("/")[0] for info in store.list()} == {"audit"}
