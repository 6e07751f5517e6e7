"""Teacher features compared with transformers' own classes; inputs, sizes, refusals."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from dino_assets import DinoV3Config, DinoV3Teacher
from dino_assets.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    ConfigError,
    DeviceUnavailableError,
    InvalidCheckpointError,
)
from dino_assets_tests.worlds.networks import FAMILIES, Sample
from dino_assets_tests.worlds.teachers import (
    compute_expected,
    draw_pictures,
    normalize,
    open_teacher,
    sample_writer,
)

SampleOf = Callable[..., Sample]
NATIVE = {"dinov2": 518, "dinov2_with_registers": 518, "dinov3_vit": 224}
VIT_S = {"dim": 384, "layers": 12, "heads": 6}


@pytest.fixture(scope="module")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> SampleOf:
    return sample_writer(tmp_path_factory.mktemp("teachers"))


@pytest.fixture
def teacher(sample_of: SampleOf) -> DinoV3Teacher:
    """A tiny DINOv3 with an input of 80 px, five patches a side."""
    return open_teacher(sample_of(), side=80)


def assert_equals_transformers(sample: Sample, size: tuple[int, int], *, count: int) -> None:
    teacher = open_teacher(sample, size=size)
    pictures = draw_pictures(count, *size)
    cls, feature_map = compute_expected(sample, normalize(pictures / 255))
    features = teacher(pictures)
    for output, wanted in (
        (teacher.extract_features(pictures), cls),
        (teacher.extract_feature_map(pictures), feature_map),
        (features.cls, cls),
        (features.map, feature_map),
    ):
        torch.testing.assert_close(output, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("multiples", [(224, 224), (518, 518), (224, 336), (518, 280)])
def test_teacher__equals_transformers(sample_of: SampleOf, family: str, multiples):
    sample = sample_of(family, native_px=NATIVE[family])
    patch = sample.checkpoint.patch_px
    height, width = (side // patch * patch for side in multiples)
    assert_equals_transformers(sample, (height, width), count=2)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("multiples", [(224, 224), (518, 518), (224, 336)])
def test_teacher__vit_s_equals_transformers(sample_of: SampleOf, family: str, multiples):
    sample = sample_of(family, native_px=NATIVE[family], **VIT_S)
    patch = sample.checkpoint.patch_px
    height, width = (side // patch * patch for side in multiples)
    assert_equals_transformers(sample, (height, width), count=1)


def test_teacher__published_shapes(sample_of: SampleOf):
    """A noise picture of 512 px, with a folder configured for 518 px: 512 px, and 32 × 32 patches."""
    sample = copy_with_processor(sample_of(), size={"height": 518, "width": 518})
    teacher = DinoV3Teacher(DinoV3Config(root=sample.folder), torch.device("cpu"))
    images = torch.randn(4, 3, 512, 512)
    assert teacher.eval() is teacher
    assert teacher.extract_features(images).shape == (4, 48)
    assert teacher.extract_feature_map(images).shape == (4, 48, 32, 32)
    assert teacher.size_px == (512, 512)


def copy_with_processor(sample: Sample, **values: object) -> Sample:
    folder = sample.folder.with_name(f"{sample.folder.name}-{abs(hash(str(values)))}")
    if not folder.exists():
        shutil.copytree(sample.folder, folder)
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return Sample(folder, sample.checkpoint)


def test_teacher__rounds_the_size_down_before_resizing(sample_of: SampleOf):
    """95 px are five patches of 16 px: the picture is resized to 80 px, not cropped."""
    sample = sample_of()
    pictures = draw_pictures(2, 120, 60)
    wanted = open_teacher(sample, side=80).extract_feature_map(pictures)
    assert wanted.shape[2:] == (5, 5)
    for config in ({"side": 95}, {"size": (80, 95)}):
        assert torch.equal(open_teacher(sample, **config).extract_feature_map(pictures), wanted)
    directory_copy = copy_with_processor(sample, size={"height": 95, "width": 90})
    assert torch.equal(open_teacher(directory_copy).extract_feature_map(pictures), wanted)


@pytest.mark.parametrize(("height", "width"), [(60, 200), (31, 47), (80, 81)])
def test_teacher__resizes_as_pillow_does(sample_of: SampleOf, height: int, width: int):
    """Bilinear with antialias; Pillow rounds to whole numbers in between."""
    sample = sample_of()
    pictures = draw_pictures(1, height, width)
    image = Image.fromarray(pictures[0].permute(1, 2, 0).numpy())
    resized = np.asarray(image.resize((80, 80), Image.Resampling.BILINEAR))
    planes = normalize(torch.tensor(resized).permute(2, 0, 1)[None] / 255)
    teacher = open_teacher(sample, side=80)
    cls, feature_map = compute_expected(sample, planes)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(teacher.extract_features(pictures), cls).min() > 0.9999
    assert cosine(teacher.extract_feature_map(pictures), feature_map).min() > 0.999


def test_teacher__map_is_in_row_order(sample_of: SampleOf):
    """If one patch of a picture changes, its feature changes most."""
    teacher = open_teacher(sample_of(), size=(48, 96))
    pictures = torch.full((2, 3, 48, 96), 90, dtype=torch.uint8)
    pictures[1, :, 16:32, 64:80] = 250
    dark_map, bright_map = teacher.extract_feature_map(pictures)
    assert int((dark_map - bright_map).norm(dim=0).argmax()) == 1 * 6 + 4


def test_teacher__map_has_no_registers(sample_of: SampleOf):
    """The map has the same size with seven registers and with one."""
    for registers in (1, 7):
        sample = sample_of("dinov2_with_registers", num_register_tokens=registers)
        teacher = open_teacher(sample, side=70)
        pictures = draw_pictures(2, 70, 70)
        _, wanted = compute_expected(sample, normalize(pictures / 255))
        feature_map = teacher.extract_feature_map(pictures)
        assert feature_map.shape == (2, 48, 5, 5)
        torch.testing.assert_close(feature_map, wanted, rtol=0, atol=1e-5)


def test_teacher__other_spelling_of_registers(sample_of: SampleOf, tmp_path):
    """``num_registers``, which transformers would ignore."""
    sample = sample_of()
    folder = shutil.copytree(sample.folder, tmp_path / "spelled")
    config = json.loads((folder / "config.json").read_text())
    config["num_registers"] = config.pop("num_register_tokens")
    (folder / "config.json").write_text(json.dumps(config))
    pictures = draw_pictures(2, 80, 80)
    spelled_teacher = DinoV3Teacher(DinoV3Config(folder, side=80), "cpu")
    wanted = open_teacher(sample, side=80)
    assert torch.equal(
        spelled_teacher.extract_feature_map(pictures), wanted.extract_feature_map(pictures)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_teacher__floats_from_0_to_1(teacher: DinoV3Teacher, dtype):
    """Halves are exact in every dtype."""
    floats = torch.randint(0, 3, (2, 3, 80, 80)) / 2
    wanted = teacher.extract_feature_map(floats)
    assert torch.equal(teacher.extract_feature_map(floats.to(dtype)), wanted)


def test_teacher__arrays_equal_tensors(teacher: DinoV3Teacher):
    pictures = np.random.default_rng(5).integers(0, 256, (2, 3, 40, 50), np.uint8)
    pictures.flags.writeable = False  # as from image decoders
    wanted = teacher(torch.tensor(pictures))
    for images in (pictures, (pictures / 255).astype(np.float32)):
        assert torch.allclose(teacher.extract_features(images), wanted.cls, atol=1e-5)
        assert torch.allclose(teacher.extract_feature_map(images), wanted.map, atol=1e-5)


def test_teacher__uint8_and_floats_agree(teacher: DinoV3Teacher):
    pictures = draw_pictures(2, 100, 70)
    assert torch.equal(
        teacher.extract_feature_map(pictures), teacher.extract_feature_map(pictures / 255)
    )


def test_teacher__does_not_clip_values(sample_of: SampleOf):
    noise = torch.randn(2, 3, 80, 80)
    cls, _ = compute_expected(sample_of(), normalize(noise))
    features = open_teacher(sample_of(), side=80).extract_features(noise)
    torch.testing.assert_close(features, cls, rtol=0, atol=1e-5)


def test_teacher__normalized(teacher: DinoV3Teacher):
    pictures = draw_pictures(2, 80, 80)
    planes = normalize(pictures / 255)
    for extract in (teacher.extract_features, teacher.extract_feature_map, teacher.__call__):
        wanted, output = extract(pictures), extract(planes, normalized=True)
        torch.testing.assert_close(output, wanted, rtol=0, atol=1e-5)


def test_teacher__any_layout_in_memory(teacher: DinoV3Teacher):
    pictures = draw_pictures(3, 80, 90)
    wanted = teacher.extract_feature_map(pictures)
    shuffled = pictures.contiguous(memory_format=torch.channels_last)
    assert torch.equal(teacher.extract_feature_map(shuffled), wanted)
    part = pictures.flip(0)[::2].flip(0)
    torch.testing.assert_close(teacher.extract_feature_map(part), wanted[::2], rtol=0, atol=1e-5)


def test_teacher__bf16_is_close(sample_of: SampleOf):
    sample = sample_of("dinov2", **VIT_S, native_px=70)
    pictures = draw_pictures(4, 70, 70)
    exact_features = open_teacher(sample, side=70)(pictures)
    for dtype in ("bf16", torch.bfloat16, "fp16"):
        features = open_teacher(sample, side=70, dtype=dtype)(pictures)
        assert features.cls.dtype == features.map.dtype == torch.float32
        assert not torch.equal(features.map, exact_features.map)
        cosine = torch.nn.functional.cosine_similarity(features.map, exact_features.map)
        assert cosine.min() > 0.999


@pytest.mark.parametrize(
    ("images", "value"),
    [
        (torch.zeros(3, 80, 80), (3, 80, 80)),
        (torch.zeros(1, 4, 80, 80), (1, 4, 80, 80)),
        (torch.zeros(1, 80, 80, 3), (1, 80, 80, 3)),
        (torch.zeros(1, 3, 0, 80), (1, 3, 0, 80)),
        (torch.zeros(0, 3, 80, 80), (0, 3, 80, 80)),
        (torch.zeros(1, 3, 80, 80, dtype=torch.int64), "torch.int64"),
        (torch.zeros(1, 3, 80, 80, dtype=torch.bool), "torch.bool"),
    ],
)
def test_teacher__refuses_other_values(teacher: DinoV3Teacher, images, value):
    for extract in (teacher.extract_features, teacher.extract_feature_map, teacher):
        with pytest.raises(ConfigError) as caught:
            extract(images)
        assert (caught.value.setting, caught.value.value) == ("images", value)


def test_teacher__refuses_normalized_bytes(teacher: DinoV3Teacher):
    with pytest.raises(ConfigError) as caught:
        teacher.extract_features(draw_pictures(1, 80, 80), normalized=True)
    assert caught.value.setting == "normalized"


def test_teacher__warns_once_of_floats_to_255(teacher: DinoV3Teacher, caplog):
    with caplog.at_level(logging.WARNING):
        teacher.extract_features(draw_pictures(1, 80, 80).float())
        teacher.extract_features(draw_pictures(1, 80, 80).float())
    assert len(caplog.records) == 1


def test_teacher__no_warning_for_noise(teacher: DinoV3Teacher, caplog):
    with caplog.at_level(logging.WARNING):
        teacher.extract_features(torch.randn(8, 3, 80, 80))
    assert not caplog.records


def remove(name: str) -> Callable:
    return lambda folder: (folder / name).unlink()


def rewrite(name: str, **values: object) -> Callable:
    def change(folder) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return change


def cut(folder) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("damage", "kind", "file"),
    [
        (remove("config.json"), CheckpointNotFoundError, "config.json"),
        (remove("preprocessor_config.json"), CheckpointNotFoundError, "preprocessor_config.json"),
        (remove("model.safetensors"), CheckpointNotFoundError, "model.safetensors"),
        (cut, InvalidCheckpointError, "model.safetensors"),
        (rewrite("config.json", model_type="vit"), InvalidCheckpointError, "config.json"),
        (rewrite("config.json", hidden_size=51), InvalidCheckpointError, "config.json"),
        (
            rewrite("preprocessor_config.json", size="big"),
            InvalidCheckpointError,
            "preprocessor_config.json",
        ),
        (
            rewrite("preprocessor_config.json", image_std=[0, 0, 0]),
            InvalidCheckpointError,
            "preprocessor_config.json",
        ),
    ],
)
def test_teacher__bad_root(sample_of: SampleOf, tmp_path, damage, kind, file):
    folder = shutil.copytree(sample_of().folder, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        DinoV3Teacher(DinoV3Config(folder), "cpu")
    assert type(caught.value) is kind
    assert caught.value.file == file
    assert file in str(caught.value)


def test_teacher__missing_root(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="nowhere"):
        DinoV3Teacher(DinoV3Config(tmp_path / "nowhere"), "cpu")


def test_teacher__relative_root_after_a_change_of_folder(sample_of: SampleOf, monkeypatch):
    sample = sample_of()
    monkeypatch.chdir(sample.folder.parent)
    teacher = DinoV3Teacher(DinoV3Config(sample.folder.name), "cpu")  # type: ignore[arg-type]
    assert teacher.config.root == sample.folder


@pytest.mark.parametrize(
    ("setting", "config"),
    [
        ("side", {"side": 0}),
        ("side", {"side": True}),
        ("side", {"side": 80.0}),
        ("side", {"side": 10**6}),
        ("size", {"size": (80,)}),
        ("size", {"size": (80, None)}),
        ("size", {"size": (80, -1)}),
        ("size", {"size": (80, 80), "side": 80}),
        ("dtype", {"dtype": "int8"}),
        ("dtype", {"dtype": torch.int8}),
    ],
)
def test_config__refuses(tmp_path, setting, config):
    with pytest.raises(ConfigError) as caught:
        DinoV3Config(tmp_path, **config)
    assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("setting", "config"), [("side", {"side": 15}), ("size", {"size": (80, 9)})]
)
def test_teacher__less_than_a_patch(sample_of: SampleOf, setting, config):
    with pytest.raises(ConfigError) as caught:
        open_teacher(sample_of(), **config)
    assert caught.value.setting == setting


def test_teacher__devices(sample_of: SampleOf):
    config = DinoV3Config(sample_of().folder, side=80)
    with pytest.raises(ConfigError) as caught:
        DinoV3Teacher(config, "gpu")
    assert caught.value.setting == "device"
    if not torch.cuda.is_available():
        with pytest.raises(DeviceUnavailableError):
            DinoV3Teacher(config, torch.device("cuda:0"))
        assert DinoV3Teacher(config).device == torch.device("cpu")


def test_teacher__repr(checkpoint_dir):
    text = repr(DinoV3Teacher(DinoV3Config(checkpoint_dir, side=64, dtype="bf16"), "cpu"))
    assert all(word in text for word in ("(random weights)", "64×64 px", "bf16", "cpu"))


def test_import__loads_no_torch():
    code = "import sys, dino_assets; assert 'torch' not in sys.modules; dino_assets.DinoV3Config"
    subprocess.run([sys.executable, "-c", code], check=True)
