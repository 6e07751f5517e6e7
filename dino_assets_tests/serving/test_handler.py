"""The serverless handler: the published request and answer, and bad requests."""

import base64
import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dino_assets import DINOv2Extractor
from dino_assets.errors import MissingExtraError
from dino_assets.serving import handler as serving
from dino_assets.serving.handler import MAX_IMAGE_BYTES, handler, main, open_model, read_tile
from dino_assets_tests.worlds.networks import write_sample


def encode(image: Image.Image, kind: str = "PNG") -> str:
    sink = io.BytesIO()
    image.save(sink, kind)
    return base64.b64encode(sink.getvalue()).decode()


def ask(text: object) -> dict[str, object]:
    return {"input": {"image": text}}


def draw_gray(width: int = 300, height: int = 200) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))


def average(tile: np.ndarray) -> np.ndarray:
    """Return the tile's mean colour, as a model whose output is easy to check."""
    return tile.mean(axis=(0, 1))


def test_handler__equals_extract_single(tmp_path: Path, monkeypatch):
    write_sample(tmp_path / "tiny", "dinov2")
    monkeypatch.setenv("DINO_MODEL_ID", str(tmp_path / "tiny"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    gray = draw_gray()
    answer = handler(ask(encode(gray)), model=open_model)
    # The engine cache lies beside the models: one volume serves all cold starts.
    assert list((tmp_path / "hub" / "dino-assets" / "engines").iterdir())
    expected = DINOv2Extractor(str(tmp_path / "tiny"), "cpu").extract_single(gray)
    assert list(answer) == ["embedding"]
    np.testing.assert_allclose(answer["embedding"], expected.numpy(), rtol=0, atol=1e-5)
    assert json.loads(json.dumps(answer)) == answer


def test_read_tile__gray_in_three_equal_channels():
    colours = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    tile = read_tile(ask(encode(Image.fromarray(colours))))
    assert (tile.shape, tile.dtype) == ((224, 224, 3), np.uint8)
    assert (tile[..., 0] == tile[..., 1]).all()
    assert (tile[..., 0] == tile[..., 2]).all()


@pytest.mark.parametrize(
    ("colour", "gray"), [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)]
)
def test_read_tile__luminance_of_colours(colour: tuple[int, ...], gray: int):
    tile = read_tile(ask(encode(Image.new("RGB", (20, 20), colour))))
    assert np.unique(tile).tolist() == [gray]


def test_read_tile__sixteen_bits_are_scaled_not_clipped():
    counts = np.full((224, 224), 0x8040, np.uint16)
    counts[:112] = 0x2000
    tile = read_tile(ask(encode(Image.fromarray(counts))))
    assert tile[0, 0].tolist() == [0x20] * 3
    assert tile[-1, -1].tolist() == [0x80] * 3


@pytest.mark.parametrize("wrap", ["{}", "data:image/png;base64,{}", "\n{}\n"])
def test_handler__accepts_variants_of_base64(wrap: str):
    text = wrap.format(encode(Image.new("L", (30, 20), 90)))
    assert handler(ask(text), model=lambda: average) == {"embedding": [90.0, 90.0, 90.0]}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (None, "no-input"),
        ([], "no-input"),
        ({}, "no-input"),
        ({"input": "x"}, "no-input"),
        ({"input": {}}, "no-image"),
        (ask(""), "no-image"),
        (ask(5), "not-base64"),
        (ask("ä"), "not-base64"),
        (ask("abc"), "not-base64"),
        (ask("A" * (2 * MAX_IMAGE_BYTES)), "too-large"),
        (ask(base64.b64encode(b"no picture").decode()), "not-an-image"),
        (ask(encode(draw_gray())[:1000]), ""),
    ],
)
def test_handler__bad_requests(event: object, reason: str):
    answer = handler(event, model=lambda: average)
    assert list(answer) == ["error"]
    assert str(answer["error"]).startswith(reason)


def test_handler__picture_with_too_many_pixels():
    text = encode(Image.new("L", (9000, 9000)))
    tracemalloc.start()
    try:
        answer = handler(ask(text), model=lambda: average)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(answer["error"]).startswith("too-large")
    assert peak_bytes < 10_000_000


def _raise(*_: object) -> object:
    raise RuntimeError("/secret/path")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_raise, "model-failed"),
        (lambda: _raise, "inference-failed"),
        (lambda: lambda tile: np.array([1.0, np.nan]), "conversion-failed"),
        (lambda: lambda tile: np.zeros((2, 2)), "conversion-failed"),
        (lambda: lambda tile: "no numbers", "inference-failed"),
    ],
)
def test_handler__internal_errors_show_no_paths(model, reason: str):
    answer = handler(ask(encode(draw_gray())), model=model)
    assert str(answer["error"]).startswith(reason)
    assert "secret" not in json.dumps(answer)


def test_model__opens_again_after_a_failure():
    attempts = iter([RuntimeError("no network"), average])

    def open_once():
        if isinstance(attempt := next(attempts), Exception):
            raise attempt
        return attempt

    model = serving._Model(open_once)
    assert "error" in handler(ask(encode(draw_gray())), model=model.open)
    assert "embedding" in handler(ask(encode(draw_gray())), model=model.open)
    assert "embedding" in handler(ask(encode(draw_gray())), model=model.open)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
PICTURE = encode(Image.new("L", (40, 30), 128))
WHOLE = base64.b64decode(PICTURE)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Draw a picture with a changed byte, or cut short."""
    place = draw(st.integers(0, len(WHOLE) - 1))
    byte = bytes([draw(st.integers(0, 255))])
    data = WHOLE[:place] + byte + WHOLE[place + 1 : draw(st.integers(place, len(WHOLE)))]
    return base64.b64encode(data).decode()


IMAGES = JSON | st.binary().map(lambda data: base64.b64encode(data).decode()) | damaged()
EVENTS = (
    JSON
    | st.fixed_dictionaries({"input": JSON})
    | st.fixed_dictionaries({"input": st.fixed_dictionaries({"image": IMAGES})})
)


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(EVENTS)
def test_handler__never_raises_and_always_answers_in_json(event: object):
    answer = handler(event, model=lambda: average)
    assert list(answer) in (["error"], ["embedding"])
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_main__names_the_extra():
    with pytest.raises(MissingExtraError) as caught:
        main("no_such_package_at_all")
    assert caught.value.extra == "runpod"
