"""``PatchVisualizer``: published signatures, pictures, pages, features, refusals."""

import inspect
import logging

import numpy as np
import pytest
import torch
from PIL import Image

import dino_assets
from dino_assets.api.patch_visualizer import PatchVisualizer
from dino_assets.drawing.lettering import RED
from dino_assets.embeddings.attention.likeness import compare_patches
from dino_assets.errors import (
    CheckpointNotFoundError,
    ConfigError,
    DeviceUnavailableError,
    SourceError,
    TargetError,
    UnusableImageError,
)
from dino_assets.weights.checkpoint import CAVEAT
from dino_assets_tests.embeddings.encoder.conftest import one_tiny, sample_of, tiny

__all__ = ["one_tiny", "sample_of", "tiny"]

GROUND = (90, 110, 80)


@pytest.fixture
def open_model():
    return lambda sample, **options: PatchVisualizer(str(sample.folder), "cpu", **options)


@pytest.fixture
def visualizer(one_tiny, open_model):
    return open_model(one_tiny)


@pytest.fixture
def photo(tmp_path):
    """A picture of 9 × 6 different patches of 16 px."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 144, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def draw_squares(path, *, rows, columns, patch_px, at, scale=1):
    """Draw a uniform picture with bright squares in some cells, ``scale`` times the model's input size."""
    picture = Image.new("RGB", (columns * patch_px, rows * patch_px), GROUND)
    for row, column in at:
        picture.paste((255, 250, 240), (column * patch_px, row * patch_px,
                                        (column + 1) * patch_px, (row + 1) * patch_px))  # fmt: skip
    picture.resize((picture.width * scale, picture.height * scale), 0).save(path)
    return path


def test_signatures__are_as_published():
    assert dino_assets.PatchVisualizer is PatchVisualizer
    parameters = inspect.signature(PatchVisualizer).parameters
    assert list(parameters)[:2] == ["model_name", "device"]
    assert parameters["model_name"].default == "facebook/dinov2-base"
    drawing = inspect.signature(PatchVisualizer.visualize_attention).parameters
    assert list(drawing) == ["self", "image_path", "output_path", "layer", "head"]
    assert (drawing["layer"].default, drawing["head"].default) == (-1, None)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "PNG"])
def test_visualize_attention__writes_a_picture(visualizer, photo, tmp_path, ending):
    target = tmp_path / "out" / f"attention.{ending}"
    view = visualizer.visualize_attention(str(photo), str(target))
    assert view.path == target
    with Image.open(target) as picture:
        picture.load()
        assert picture.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[ending.lower()]
        assert picture.width > 1400
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name]
    assert view.facts["layer"] == 2
    assert view.facts["head"] is None
    assert sum(view.facts["attention"].values()) == pytest.approx(1, abs=1e-5)
    assert view.facts["images"] == [
        {"image": "photo.png", "width": 144, "height": 96, "rows": 6, "columns": 9, "patch_px": 16}
    ]


def test_visualize_attention__layers_and_heads_differ(visualizer, photo, tmp_path):
    pictures = {}
    for layer, head in [(-1, None), (-1, 0), (-1, 1), (0, None), (2, None), (-1, -3)]:
        target = tmp_path / f"{layer}{head}.png"
        view = visualizer.visualize_attention(photo, target, layer=layer, head=head)
        pictures[view.facts["layer"], view.facts["head"]] = target.read_bytes()
    assert len(pictures) == len(set(pictures.values())) == 4


def test_visualize_heads__writes_a_picture(visualizer, photo, tmp_path):
    view = visualizer.visualize_heads(photo, tmp_path / "heads.png", layer=0)
    assert len(view.facts["heads"]) == 3
    with Image.open(view.path) as picture:
        assert picture.width > 1200


def test_visualize_pca__of_one_and_of_several(visualizer, photo, tmp_path):
    other_photo = tmp_path / "other.png"
    Image.new("RGB", (64, 200), (200, 10, 10)).save(other_photo)
    one_view = visualizer.visualize_pca(photo, tmp_path / "one.png")
    two_view = visualizer.visualize_pca(
        [photo, other_photo], tmp_path / "two.png", foreground="auto"
    )
    with Image.open(one_view.path) as low_picture, Image.open(two_view.path) as high_picture:
        assert high_picture.height > low_picture.height + 150
    assert [each["image"] for each in two_view.facts["images"]] == ["photo.png", "other.png"]
    assert one_view.facts["foreground"] is None
    assert two_view.facts["foreground"] in ("above", "below")
    assert 0 < sum(two_view.facts["variance"]) <= 1
    with pytest.raises(ConfigError):
        visualizer.visualize_pca([], tmp_path / "none.png")


@pytest.mark.parametrize("scale", [1, 3])
def test_similarity__is_high_for_equal_squares(tiny, open_model, tmp_path, scale):
    patch = tiny.checkpoint.patch_px
    squares = [(0, 0), (6, 10), (3, 5), (0, 10), (6, 0)]
    path = draw_squares(
        tmp_path / "squares.png", rows=7, columns=11, patch_px=patch, at=squares, scale=scale
    )
    visualizer = open_model(tiny, max_px=11 * patch)
    cell = patch * scale
    for row, column in squares:
        for x, y in [(0, 0), (cell - 1, cell - 1)]:
            values = visualizer.similarity(
                path, (column * cell + x, row * cell + y), debias="blank"
            )
            assert values.shape == (7, 11)
            assert values[row, column] == pytest.approx(1, abs=1e-5)
            brightest = np.argsort(values.ravel())[::-1][:5]
            assert {divmod(int(index), 11) for index in brightest} == set(squares)
    # A pixel beside the square belongs to the background.
    values = visualizer.similarity(path, (cell, 0), debias="blank")
    assert {divmod(int(index), 11) for index in np.argsort(values.ravel())[:5]} == set(squares)


def test_similarity__points_are_of_the_upright_picture(visualizer, tmp_path):
    turned_picture = Image.new("RGB", (96, 160), GROUND)
    turned_picture.paste((255, 250, 240), (80, 144, 96, 160))  # the lower right corner
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90° clockwise: then it is the lower left corner
    turned_picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    values = visualizer.similarity(tmp_path / "turned.jpg", (3, 93), debias="blank")
    assert values.shape == (6, 10)
    assert values[5, 0] == pytest.approx(1, abs=1e-5)
    values[5, 0] = 0
    assert values.max() < 0.9


def test_visualize_similarity__a_page_or_a_picture(visualizer, photo, tmp_path):
    page = visualizer.visualize_similarity(photo, tmp_path / "page.html")
    assert "where else is this?" in page.path.read_text()
    assert page.facts["patch"] is None
    picture = visualizer.visualize_similarity(photo, tmp_path / "p.png", point=(143, 95))
    assert picture.facts["patch"] == (5, 8)
    with Image.open(picture.path) as image:
        assert image.width > 1400
    with pytest.raises(ConfigError) as caught:
        visualizer.visualize_similarity(photo, tmp_path / "q.png")
    assert caught.value.setting == "point"
    with pytest.raises(ConfigError) as caught:
        visualizer.visualize_similarity(photo, tmp_path / "q.png", point=(144, 0))
    assert caught.value.setting == "point"
    assert not (tmp_path / "q.png").exists()


def test_debias__changes_the_features_and_is_reported(visualizer, photo, tmp_path):
    plain_features = visualizer.patch_features(photo)
    for debias, origin in [
        ("noise", "8 noise pictures"),
        ("blank", "a blank picture"),
        ([photo, photo], "2 reference pictures"),
    ]:
        assert not np.allclose(visualizer.patch_features(photo, debias=debias), plain_features)
        view = visualizer.visualize_similarity(photo, tmp_path / "p.html", debias=debias)
        assert view.facts["debias"] == origin
        assert f"the position bias is subtracted, as measured on {origin}" in view.path.read_text()
    # With the picture itself as reference, only a part that is equal everywhere remains.
    features = visualizer.patch_features(photo, debias=[photo])
    assert np.allclose(features, plain_features.mean(axis=(0, 1)), atol=1e-4)


@pytest.mark.parametrize("debias", ["colour", [], ""])
def test_debias__refuses_unknown_words(visualizer, photo, debias):
    with pytest.raises(ConfigError) as caught:
        visualizer.patch_features(photo, debias=debias)
    assert caught.value.setting == "debias"


def test_save_patch_features__opens_without_code(visualizer, photo, tmp_path):
    features = visualizer.patch_features(photo, layer=1)
    for ending in ("npz", "pt"):
        view = visualizer.save_patch_features(photo, tmp_path / f"f.{ending}", layer=-2)
        if ending == "npz":
            with np.load(view.path, allow_pickle=False) as arrays:
                content = {name: arrays[name] for name in arrays.files}
            assert np.array_equal(content["features"], features)
            content = {n: each.item() if each.ndim == 0 else each for n, each in content.items()}
        else:
            content = torch.load(view.path, weights_only=True)
            assert np.array_equal(content["features"].numpy(), features)
        assert content.pop("features").shape == (6, 9, 48)
        assert content == {
            "model": visualizer.checkpoint.model,
            "revision": visualizer.checkpoint.revision,
            "layer": 1,
            "layers": 3,
            "debias": "",
            "image": "photo.png",
            "width": 144,
            "height": 96,
            "rows": 6,
            "columns": 9,
            "patch_px": 16,
        }


def test_similarity__equals_that_of_the_features(visualizer, photo):
    features = visualizer.patch_features(photo, layer=0)
    values = visualizer.similarity(photo, (16, 16), layer=0)
    assert np.array_equal(values, compare_patches(features, 1, 1))
    attention = visualizer.attention(photo, layer=0)
    assert attention.patches.shape == (3, 6, 9)


@pytest.mark.parametrize("max_px", [64, 100])
def test_max_px__limits_the_models_input(one_tiny, open_model, photo, max_px):
    features = open_model(one_tiny, max_px=max_px).patch_features(photo)
    assert features.shape[:2] == {64: (2, 4), 100: (4, 6)}[max_px]


def test_files__refusals_keep_older_files(visualizer, photo, tmp_path):
    broken_photo = tmp_path / "broken.jpg"
    broken_photo.write_bytes(b"no picture")
    target = tmp_path / "target.png"
    target.write_bytes(b"older")
    for error, image, options in [
        (UnusableImageError, broken_photo, {}),
        (SourceError, tmp_path / "none.jpg", {}),
        (SourceError, tmp_path, {}),
        (ConfigError, photo, {"layer": 3}),
        (ConfigError, photo, {"head": 3}),
    ]:
        with pytest.raises(error):
            visualizer.visualize_attention(image, target, **options)
    assert target.read_bytes() == b"older"
    for name in ("target.gif", "target"):
        with pytest.raises(ConfigError) as caught:
            visualizer.visualize_attention(photo, tmp_path / name)
        assert caught.value.setting == "output_path"
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(TargetError):
        visualizer.visualize_attention(photo, tmp_path / "folder.png")


def test_files__never_overwrites_an_input_picture(visualizer, photo, monkeypatch):
    photo_data = photo.read_bytes()
    (photo.parent / "link.png").symlink_to(photo)
    for target in (photo, "photo.png", photo.parent / "link.png"):
        for write in (visualizer.visualize_attention, visualizer.visualize_pca):
            with pytest.raises(ConfigError) as caught:
                write(photo, target)
            assert caught.value.setting == "output_path"
    assert photo.read_bytes() == photo_data


@pytest.mark.parametrize(
    ("device", "error"),
    [
        ("cuda:7", DeviceUnavailableError),
        ("cpu:1", DeviceUnavailableError),
        ("gpu", ConfigError),
    ],
)
def test_device__missing_device(one_tiny, device, error):
    with pytest.raises(error) as caught:
        PatchVisualizer(str(one_tiny.folder), device)
    assert caught.value.setting == "device"


@pytest.mark.parametrize("device", ["cuda", torch.device("cuda")])
def test_device__cuda_without_a_gpu_falls_back_with_a_warning(one_tiny, photo, device, caplog):
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    visualizer = PatchVisualizer(str(one_tiny.folder), device)
    assert [each.levelname for each in caplog.records if "'cuda'" in each.getMessage()] == [
        "WARNING"
    ]
    assert visualizer.patch_features(photo).shape == (6, 9, 48)


@pytest.mark.parametrize("device", ["auto", None])
def test_device__is_chosen(one_tiny, photo, device):
    assert PatchVisualizer(str(one_tiny.folder), device).patch_features(photo).shape == (6, 9, 48)


def test_model__missing_model(tmp_path):
    with pytest.raises(CheckpointNotFoundError):
        PatchVisualizer("./models/none", "cpu")
    with pytest.raises(ConfigError):
        PatchVisualizer(" ", "cpu")


def test_random_weights__are_reported(checkpoint_dir, photo, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        visualizer = PatchVisualizer(str(checkpoint_dir), "cpu")
    assert [CAVEAT in each.message for each in caplog.records] == [True]
    view = visualizer.visualize_attention(photo, tmp_path / "a.png")
    assert view.facts["caveat"] == CAVEAT
    with Image.open(view.path) as picture:
        assert (np.asarray(picture) == RED).all(axis=2).any()
    page = visualizer.visualize_similarity(photo, tmp_path / "a.html")
    assert CAVEAT in page.path.read_text()
    features_view = visualizer.save_patch_features(photo, tmp_path / "a.npz")
    assert str(np.load(features_view.path)["caveat"]) == CAVEAT
