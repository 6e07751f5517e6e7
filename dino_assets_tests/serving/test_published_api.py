"""The published API of the service: requests and answers; further keys come after the published ones."""

import gc
import io
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from dino_assets.images.decoding import decode_image
from dino_assets.serving.lifespan import open_service
from dino_assets.store.objects import open_store
from dino_assets.tiles.grid import cut_tiles
from dino_assets_tests.conftest import photo_bytes, s3_settings
from dino_assets_tests.serving.conftest import Serve
from dino_assets_tests.worlds.hub_server import HubServer
from dino_assets_tests.worlds.serving import make_settings, served_model

MODEL = "facebook/dinov2-base"


@pytest.fixture
def base(serve: Serve, dinov2, dinov2_engines, tmp_path):
    model = served_model(dinov2.checkpoint, MODEL)
    settings = make_settings(tmp_path)
    return serve(dinov2_engines, model=model, settings=replace(settings, model=MODEL))


def test_health__published_answer(base):
    answer = base.client.get("/health")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert (
        answer.text
        == '{"status":"ok","model":"facebook/dinov2-base","device":"cpu","storage":"local"}'
    )


def test_embed__published_answer(base):
    """Published keys and values come first, in their order; then further keys."""
    answer = base.embed(photo_bytes(640, 480), "sample.jpg")
    assert answer.status_code == 200
    members = answer.json()
    assert list(members)[:4] == ["embedding_uri", "shape", "num_tiles", "metadata"]
    assert re.fullmatch(r"store/embed_[0-9a-f]{32}\.npz", members["embedding_uri"])
    assert members["shape"] == [1, 1369, 48]
    assert members["num_tiles"] == 1
    assert members["metadata"] == {
        "filename": "sample.jpg",
        "original_size": [640, 480],
        "num_tiles": 1,
        "model": "facebook/dinov2-base",
        "embedding_shape": [1, 1369, 48],
    }
    assert members["embedding_uri"] == f"store/embed_{members['id']}.npz"
    assert {key: members[key] for key in list(members)[5:-1]} == {
        "tokens": "patches",
        "dtype": "fp16",
    }
    assert date.fromisoformat(members["expires"]) - datetime.now(UTC).date() == timedelta(days=91)


def test_embed__published_address_on_minio(serve: Serve, s3_endpoint, tmp_path):
    storage = s3_settings(s3_endpoint, tmp_path)
    settings = make_settings(tmp_path)
    settings = replace(settings, storage=storage)
    served = serve(store=open_store(storage), settings=settings)
    answer = served.embed(photo_bytes(kind="PNG")).json()
    assert answer["embedding_uri"] == f"{storage.url}/embed_{answer['id']}.npz"
    assert served.client.get("/health").json()["storage"] == "minio"
    assert served.client.get(f"/embeddings/{answer['id']}").status_code == 200


@pytest.mark.parametrize(
    ("size", "tiles"), [((640, 480), 1), ((1024, 1024), 1), ((1025, 400), 3), ((2048, 1536), 35)]
)
def test_embed__number_of_tiles(base, size, tiles):
    """One tile up to 1024 px on both sides; above, tiles of 518 px in steps of 259."""
    answer = base.embed(photo_bytes(*size), tokens="cls").json()
    assert (answer["num_tiles"], answer["shape"]) == (tiles, [tiles, 48])
    assert answer["metadata"]["original_size"] == list(size)


def test_embed__applies_the_exif_orientation(base):
    exif = Image.Exif()
    exif[0x0112] = 6
    answer = base.embed(photo_bytes(64, 48, exif=exif), tokens="cls").json()
    assert answer["metadata"]["original_size"] == [48, 64]


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize("tokens", ["patches", "mean", "cls"])
def test_embed__file_equals_the_engines_output(base, local_store, dinov2_engines, tokens, dtype):
    photo = photo_bytes(1100, 600)
    answer = base.embed(photo, tokens=tokens, dtype=dtype).json()
    data = local_store.get(f"embed_{answer['id']}.npz")
    with np.load(io.BytesIO(data)) as arrays:
        assert arrays.files == ["cls", "mean", "windows", "tile_ids", "embeddings"]
        windows = arrays["windows"]
        tiles = cut_tiles(decode_image(photo), windows, 518, span_px=518)
        expected = [dinov2_engines.encode(tile[None]) for tile in tiles]
        number = {"fp16": np.float16, "fp32": np.float32}[dtype]
        for name, column in (("cls", "cls"), ("mean", "mean"), ("embeddings", tokens)):
            rows = np.concatenate([each[column] for each in expected]).astype(number)
            assert arrays[name].dtype == number
            np.testing.assert_array_equal(arrays[name], rows)
        assert list(arrays["embeddings"].shape) == answer["shape"]
        assert arrays["tile_ids"][0].endswith("-x00000y00000w00518h00518-g1")
        assert len(arrays["tile_ids"]) == len(windows) == answer["num_tiles"] == 8


def test_embed__the_configured_model_of_the_hub(
    serve: Serve, hub: HubServer, dinov2, tmp_path, monkeypatch
):
    """Fetches, converts and checks the model, and answers under its name."""
    hub.add(MODEL, {path.name: path for path in dinov2.folder.iterdir()})
    settings = make_settings(tmp_path)
    settings = replace(settings, model="dinov2-base")
    served = serve(settings=settings, open_it=open_service)
    answer = served.embed(photo_bytes(640, 480), "sample.jpg").json()
    assert answer["metadata"]["model"] == MODEL
    assert served.client.get("/ready").json()["model"] == MODEL


def test_embed__random_weights_have_a_caveat(serve: Serve, checkpoint_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    settings = make_settings(tmp_path)
    settings = replace(settings, model=str(checkpoint_dir))
    served = serve(settings=settings, open_it=open_service)
    answer = served.embed(photo_bytes(640, 480)).json()
    assert "random weights" in answer["caveat"]
    assert answer["metadata"]["model"] == checkpoint_dir.name  # not the path of the folder


def test_open_service__leaves_the_models_libraries_out_of_collections(
    serve: Serve, checkpoint_dir, tmp_path, monkeypatch
):
    """A garbage collection over them would delay `/health` by 150 ms."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    gc.unfreeze()
    settings = replace(make_settings(tmp_path), model=str(checkpoint_dir))
    try:
        serve(settings=settings, open_it=open_service)
        assert gc.get_freeze_count() > 100_000
    finally:
        gc.unfreeze()
