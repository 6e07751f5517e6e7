"""Plans of uploads, from the image header alone; options of `/embed`."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dino_assets.images.decoding import photos
from dino_assets.serving.problems import Problem
from dino_assets.serving.requests.options import EmbedOptions, read_options
from dino_assets.serving.requests.planning import MOST_FILE_BYTES, ServedModel, plan_upload
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.published import PUBLISHED
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.serving import SMALL, SMALL_CHECKPOINT, served_model

DEFAULT = EmbedOptions()


def plain_png(width: int, height: int) -> bytes:
    sink = io.BytesIO()
    Image.new("L", (width, height)).save(sink, "PNG")
    return sink.getvalue()


def base() -> ServedModel:
    """Make a ViT-B/14 at 518 px without weights."""
    checkpoint = replace(SMALL_CHECKPOINT, dim=768, patch_px=14)
    return served_model(checkpoint, "base")


def test_plan_upload__decodes_no_pixel(monkeypatch):
    def fail(*_: object) -> None:
        raise AssertionError("decoded")

    photo = photo_bytes(2048, 1536)
    monkeypatch.setattr(photos, "decode_image", fail)
    monkeypatch.setattr(Image.Image, "load", fail)
    plan = plan_upload(photo, DEFAULT, base())
    assert (plan.size, plan.tiles, plan.shape) == ((2048, 1536), 35, (35, 1369, 768))
    assert plan.token_bytes == 35 * (1369 + 2) * 768 * 2
    assert plan.pixel_bytes == 2048 * 1536 * 3


def test_plan_upload__id_depends_on_file_model_and_options():
    """Nothing else changes the id."""
    photo, other_photo = photo_bytes(seed=1), photo_bytes(seed=2)
    ids = [
        plan_upload(photo, DEFAULT, SMALL).id,
        plan_upload(other_photo, DEFAULT, SMALL).id,
        plan_upload(photo, EmbedOptions("mean"), SMALL).id,
        plan_upload(photo, EmbedOptions(dtype="fp32"), SMALL).id,
        plan_upload(photo, DEFAULT, served_model(SMALL_CHECKPOINT, side_px=32)).id,
        plan_upload(
            photo,
            DEFAULT,
            served_model(
                replace(SMALL_CHECKPOINT, weights_sha256="1" * 64),
                side_px=16,
            ),
        ).id,
    ]
    assert len(set(ids)) == len(ids)
    assert plan_upload(photo, DEFAULT, SMALL).id == ids[0]


def test_plan_upload__too_large_a_result_lists_options_that_fit():
    data = plain_png(10_000, 6_000)
    with raising(Problem, slug="result-too-large") as caught:
        plan_upload(data, EmbedOptions(dtype="fp32"), base())
    problem = caught.value
    assert problem.more["result_bytes"] > problem.more["limit_bytes"] == MOST_FILE_BYTES
    assert "tokens=mean dtype=fp32" in problem.detail
    assert "tokens=patches" not in problem.detail  # too large in fp16 too
    for tokens in ("mean", "cls"):
        assert plan_upload(data, EmbedOptions(tokens), base()).tiles == problem.more["tiles"]


def test_plan_upload__too_large_in_fp32_fits_in_fp16():
    data = plain_png(6_000, 4_000)
    with raising(Problem, slug="result-too-large") as caught:
        plan_upload(data, EmbedOptions(dtype="fp32"), base())
    assert "tokens=patches dtype=fp16" in caught.value.detail
    assert plan_upload(data, DEFAULT, base()).token_bytes < MOST_FILE_BYTES


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"no picture", "not-an-image"),
        (photo_bytes(kind="GIF"), "not-an-image"),
        (photo_bytes(640, 480, kind="PNG")[:500], "truncated"),
        (plain_png(100_001, 1), "too-large"),
    ],
)
def test_plan_upload__unusable_pictures(data, reason):
    with raising(Problem, slug="unusable-picture") as caught:
        plan_upload(data, DEFAULT, SMALL)
    assert caught.value.more == {"reason": reason}


def test_plan_upload__windows_follow_the_grid():
    plan = plan_upload(photo_bytes(40, 16), DEFAULT, SMALL)
    np.testing.assert_array_equal(plan.windows[:, 0], [0, 8, 16, 24])
    assert [name.partition("-")[2] for name in plan.tile_ids][1] == "x00008y00000w00016h00016-g1"


def test_read_options__from_query_or_form():
    assert read_options({}, {}) == EmbedOptions("patches", "fp16")
    assert read_options({"tokens": "mean"}, {"dtype": "fp32"}) == EmbedOptions("mean", "fp32")
    assert read_options({"tokens": "cls"}, {"tokens": "cls"}) == EmbedOptions("cls", "fp16")


@pytest.mark.parametrize(
    ("query", "fields", "slug"),
    [
        ({"token": "mean"}, {}, "unknown-field"),
        ({}, {"url": "http://example.org/a.jpg"}, "unknown-field"),
        ({"tokens": "all"}, {}, "unknown-option"),
        ({"tokens": "cls"}, {"tokens": "mean"}, "unknown-option"),
        ({}, {"dtype": "fp8"}, "unknown-option"),
    ],
)
def test_read_options__refused(query, fields, slug):
    with raising(Problem, slug=slug):
        read_options(query, fields)


def test_plan_upload__every_published_model_fits_at_20_megapixels():
    """A drone's photograph fits with all patch tokens, for every model but the giant."""
    for name, network in PUBLISHED.items():
        patch = 16 if "dinov3" in name else 14
        side = 518 // patch * patch
        step = round(side / 2)
        tiles = (-(-(5472 - side) // step) + 1) * (-(-(3648 - side) // step) + 1)
        size = tiles * (side // patch) ** 2 * network.dim * 2
        assert (size <= MOST_FILE_BYTES) == (network.dim <= 1280)
