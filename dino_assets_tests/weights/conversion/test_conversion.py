"""Recognition and conversion of checkpoints: published models pass, anything else is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from dino_assets.errors import ConfigError, InvalidCheckpointError
from dino_assets.weights.architecture import Shapes
from dino_assets.weights.conversion.layout import make_index, plan_shards, view_bytes
from dino_assets.weights.conversion.recognition import Piece, convert, recognise
from dino_assets.weights.conversion.statistics import (
    Statistics,
    choose_statistics,
    complete_preprocessor,
    name_folder,
)
from dino_assets.weights.conversion.tables import FORMATS, check_bias_mask, check_periods
from dino_assets.weights.records import Family
from dino_assets_tests.worlds.originals import (
    State,
    as_meta_v2,
    as_meta_v3,
    as_timm_v2,
    as_timm_v3,
    make_model,
)
from dino_assets_tests.worlds.raising import raising

V2: Family = "dinov2"
REGISTERS: Family = "dinov2_with_registers"
V3: Family = "dinov3_vit"
# Measured on the Hub: width, layers, heads, gated MLP's width or None, parameters.
PUBLISHED: dict[str, tuple[str, int, int, int, int | None, int]] = {
    "dinov2-small": (V2, 384, 12, 6, None, 22_056_576),
    "dinov2-base": (V2, 768, 12, 12, None, 86_580_480),
    "dinov2-large": (V2, 1024, 24, 16, None, 304_368_640),
    "dinov2-giant": (V2, 1536, 40, 24, 4096, 1_136_480_768),
    "dinov2-with-registers-small": (REGISTERS, 384, 12, 6, None, 22_056_576 + 1_536),
    "dinov2-with-registers-base": (REGISTERS, 768, 12, 12, None, 86_580_480 + 3_072),
    "dinov2-with-registers-large": (REGISTERS, 1024, 24, 16, None, 304_368_640 + 4_096),
    "dinov2-with-registers-giant": (REGISTERS, 1536, 40, 24, 4096, 1_136_480_768 + 6_144),
    "dinov3-vits16": (V3, 384, 12, 6, None, 21_596_544),
    "dinov3-vits16plus": (V3, 384, 12, 6, 1536, 28_692_864),
    "dinov3-vitb16": (V3, 768, 12, 12, None, 85_660_416),
    "dinov3-vitl16": (V3, 1024, 24, 16, None, 303_129_600),
    "dinov3-vith16plus": (V3, 1280, 32, 20, 5120, 840_592_640),
    "dinov3-vit7b16": (V3, 4096, 40, 32, 8192, 6_716_035_072),
}


def shapes_of(state: State) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def published(name: str, upstream: Callable[[Any], State]) -> tuple[Any, Shapes]:
    """Make a published model's shapes only: the 7B model would take 27 GB."""
    family, dim, layers, heads, gated, _ = PUBLISHED[name]
    options: dict[str, Any] = {"intermediate_size": gated or 4 * dim} if family == V3 else {}
    if "7b" in name:
        options |= {"query_bias": False, "value_bias": False}
    with torch.device("meta"):
        model = make_model(
            family, dim=dim, layers=layers, heads=heads, grid=37, gated=bool(gated), **options
        )
        return model, shapes_of(upstream(model))


@pytest.mark.parametrize("upstream", ["meta", "timm"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_recognise__published_models(name: str, upstream: str):
    family, dim, layers, heads, gated, parameters = PUBLISHED[name]
    is_v3 = family == V3
    make = {"meta": (as_meta_v2, as_meta_v3), "timm": (as_timm_v2, as_timm_v3)}[upstream][is_v3]
    model, shapes = published(name, make)
    recognised = recognise(shapes, model=name)
    assert recognised.family == family
    measures = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "patch_size",
        "image_size",
    )
    assert tuple(recognised.config[key] for key in measures) == (
        dim, layers, heads, 16 if is_v3 else 14, 224 if is_v3 else 518,
    )  # fmt: skip
    assert recognised.config.get("num_register_tokens", 0) == (0 if family == V2 else 4)
    assert sum(int(np.prod(piece.shape)) for piece in recognised.pieces) == parameters
    assert upstream in recognised.format.lower()
    assert ("SwiGLU" in recognised.format) == bool(gated)
    expected = model.config.to_dict()
    shared_keys = recognised.config.keys() - {"architectures", "image_size"}
    assert {key: recognised.config[key] for key in shared_keys} == {
        key: expected.get(key) for key in shared_keys
    }


def test_recognise__timms_7b_has_wide_heads():
    _, shapes = published("dinov3-vit7b16", as_timm_v3)
    assert "rope_embed.periods" not in shapes
    assert recognise(shapes, model="7b").config["num_attention_heads"] == 32


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_formats__every_size_has_a_source_tensor(form: Any):
    letters = {letter for rule in form.rules.values() for letter in rule.shape if letter.isalpha()}
    assert letters == {letter for part in form.parts for letter in part.sizes}
    for rule in form.rules.values():
        assert rule.targets or rule.leftover
        assert (None in rule.targets) <= bool(rule.leftover)


# --- every tensor counts --------------------------------------------------------------------


UPSTREAM: dict[str, tuple[Callable[[Any], State], str, dict[str, Any]]] = {
    "meta v2": (as_meta_v2, V2, {}),
    "meta v2 registers, gated": (as_meta_v2, REGISTERS, {"gated": True}),
    "timm v2 registers": (as_timm_v2, REGISTERS, {}),
    "meta v3": (as_meta_v3, V3, {}),
    "timm v3, gated": (as_timm_v3, V3, {"gated": True}),
}


@pytest.fixture(scope="module", params=UPSTREAM)
def original(request: pytest.FixtureRequest) -> State:
    upstream, family, options = UPSTREAM[request.param]
    return upstream(make_model(family, dim=128, **options))


def test_recognise__uses_every_source_tensor_once_or_leaves_it_over(original: State):
    recognised = recognise(shapes_of(original), model="m")
    assert {piece.source for piece in recognised.pieces} - {None} | set(
        recognised.leftovers
    ) == set(original)
    shares = [(piece.source, piece.part) for piece in recognised.pieces if piece.source]
    assert len(shares) == len(set(shares))
    assert len({piece.name for piece in recognised.pieces}) == len(recognised.pieces)
    # Counts of numbers: those that are not written are left over.
    written_numbers = sum(
        int(np.prod(p.shape)) for p in recognised.pieces if p.source and not p.starts_with_zeros
    )
    written_numbers += sum(
        original[p.source].numel() for p in recognised.pieces if p.starts_with_zeros
    )
    leftover_numbers = sum(
        original[name].numel() // (3 if name.endswith("qkv.bias") else 1)
        for name in recognised.leftovers
    )
    assert written_numbers + leftover_numbers == sum(tensor.numel() for tensor in original.values())


OPTIONAL_TENSORS = ("mask_token", "rope_embed.periods")


def test_recognise__refuses_when_any_tensor_is_missing(original: State):
    for name in original:
        shapes = shapes_of(original)
        del shapes[name]
        if name in OPTIONAL_TENSORS:
            assert recognise(shapes, model="m")
        elif name == "register_tokens":
            assert (
                recognise(shapes, model="m").family == V2
            )  # without them it is another, whole model
        elif name.endswith("bias_mask"):  # it must be missing in every block
            with raising(InvalidCheckpointError, key=name, reason="unsupported"):
                recognise(shapes, model="m")
        else:
            with raising(InvalidCheckpointError, reason="unsupported"):
                recognise(shapes, model="m")


def test_recognise__refuses_any_other_shape(original: State):
    for name, shape in shapes_of(original).items():
        for axis in range(len(shape)):
            other_shape = (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :])
            if (name, axis) in {(r, 1) for r in ("register_tokens", "reg_token", "storage_tokens")}:
                continue  # any number of registers is allowed
            with raising(InvalidCheckpointError, reason="unsupported"):
                recognise(shapes_of(original) | {name: other_shape}, model="m")
        with pytest.raises(InvalidCheckpointError):
            recognise(shapes_of(original) | {name: (*shape, 1)}, model="m")


@pytest.mark.parametrize(
    "name",
    ["head.weight", "cls_norm.weight", "fc_norm.bias", "norm_pre.weight", "blocks.2.norm1.weight",
     "blocks.x.norm1.weight", "blocks.0.attn.q_norm.weight", "projectors.0.weight", "rope.freqs"],
)  # fmt: skip
def test_recognise__refuses_any_other_tensor(original: State, name: str):
    # The third block lacks its other tensors.
    key = "blocks.2.norm1.bias" if name == "blocks.2.norm1.weight" else name
    with raising(InvalidCheckpointError, key=key, reason="unsupported"):
        recognise(shapes_of(original) | {name: (128,)}, model="the/model")


def test_recognise__message_compares_with_the_nearest_format():
    shapes = shapes_of(as_timm_v3(make_model(V3))) | {"head.weight": (128,)}
    with pytest.raises(
        InvalidCheckpointError,
        match=r"^'the/model' is not a checkpoint that can be imported. The nearest format is timm's "
        r"DINOv3, but 'head.weight' is unknown. Supported are Meta's .pth and timm's "
        r".safetensors files of DINOv2",
    ):
        recognise(shapes, model="the/model")


def test_recognise__gaps_in_block_numbers():
    shapes = shapes_of(as_timm_v3(make_model(V3)))
    gap = {name.replace("blocks.1.", "blocks.9999999999."): s for name, s in shapes.items()}
    with raising(InvalidCheckpointError, key="blocks.1.norm1.weight", reason="unsupported"):
        recognise(gap, model="m")


@pytest.mark.parametrize("shapes", [{}, {"a": (1,)}, {"cls_token": ()}, {"cls_token": (1, 1, 0)}])
def test_recognise__other_models(shapes: Shapes):
    with raising(InvalidCheckpointError, reason="unsupported"):
        recognise(shapes, model="m")


def test_recognise__convnext_and_plain_vits_are_refused():
    convnext = {"downsample_layers.0.0.weight": (96, 3, 4, 4), "stages.0.0.gamma": (96,)}
    with raising(InvalidCheckpointError, reason="unsupported"):
        recognise(convnext, model="m")
    shapes = shapes_of(as_timm_v2(make_model(V2)))
    augreg = {name: s for name, s in shapes.items() if ".ls" not in name}
    with raising(InvalidCheckpointError, key="blocks.0.ls1.gamma", reason="unsupported"):
        recognise(augreg, model="m")


def test_recognise__hugging_faces_names():
    with raising(InvalidCheckpointError, file="config.json", reason="missing"):
        recognise({"embeddings.cls_token": (1, 1, 64)}, model="m")


def test_recognise__sizes_of_zero():
    shapes = {
        name: tuple(0 if side == 4 else side for side in shape)
        for name, shape in shapes_of(as_meta_v3(make_model(V3))).items()
    }
    with raising(InvalidCheckpointError, key="sizes", reason="unsupported"):
        recognise(shapes, model="m")


@pytest.mark.parametrize(
    ("dim", "change", "key"),
    [
        (96, {}, "heads"),
        (64, {"pos_embed": (1, 16, 64)}, "pos_embed"),
        (64, {"pos_embed": (1, 0, 64)}, "sizes"),
    ],
)
def test_recognise__contradictions(dim: int, change: Shapes, key: str):
    shapes = shapes_of(as_meta_v2(make_model(V2, dim=dim, heads=1)))
    with raising(InvalidCheckpointError, key=key, reason="unsupported"):
        recognise(shapes | change, model="m")


@pytest.mark.parametrize("gated", [False, True])
def test_recognise__mlp_width_that_transformers_cannot_express(gated: bool):
    shapes = shapes_of(as_meta_v2(make_model(V2, gated=gated)))
    width = shapes["blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight"][1]
    wider_shapes = {
        name: tuple({width: width + 5, 2 * width: 2 * width + 10}.get(s, s) for s in shape)
        if ".mlp." in name
        else shape
        for name, shape in shapes.items()
    }
    with raising(InvalidCheckpointError, key="mlp_ratio", reason="unsupported"):
        recognise(wider_shapes, model="m")


# --- values ---------------------------------------------------------------------------------


def test_check_bias_mask__by_hand():
    assert check_bias_mask(np.float32([1, 1, 0, 0, 1, 1])) == ""
    for wrong_mask in (
        [1, 1, 1, 1, 1, 1],
        [0, 0, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, np.nan],
        [1, 0, 0, 0, 1, 1],
    ):
        assert "do not mask" in check_bias_mask(np.float32(wrong_mask))


def test_check_periods__by_hand():
    assert check_periods(np.float32([1, 100**0.5])) == ""
    assert check_periods(np.float32([1, 10.03])) == ""  # within bfloat16's step
    assert "base 100" in check_periods(np.float32([1, 10.1]))
    assert "base 100" in check_periods(np.float32([1, 100]))
    assert "base 100" in check_periods(np.float32([1, np.nan]))


def test_convert__shares_of_rows():
    tensors = {"qkv": torch.arange(12.0).reshape(6, 2)}
    parts = [
        convert(Piece("x", (2, 2), "qkv", part, 3), tensors.__getitem__, torch.float32)
        for part in range(3)
    ]
    assert [part.tolist() for part in parts] == [
        [[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]],
    ]  # fmt: skip


def test_convert__zeros_at_the_start_and_without_source():
    tensors = {"pos": torch.ones(1, 2, 3)}
    piece = Piece("x", (1, 3, 3), "pos", starts_with_zeros=True)
    tensor = convert(piece, tensors.__getitem__, torch.float16)
    assert tensor.tolist() == [[[0, 0, 0], [1, 1, 1], [1, 1, 1]]]
    zeros = convert(Piece("x", (1, 2), None), tensors.__getitem__, torch.bfloat16)
    assert (zeros.tolist(), zeros.dtype) == ([[0, 0]], torch.bfloat16)


# --- statistics -----------------------------------------------------------------------------


SAT = (0.430, 0.411, 0.296)


@pytest.mark.parametrize(
    "path",
    ["dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth", "x/SAT493M.pth",
     "vit_large_patch16_dinov3.sat493m/model.safetensors"],
)  # fmt: skip
def test_choose_statistics__by_name(tmp_path: Path, path: str):
    assert choose_statistics(tmp_path / path, V3).mean == SAT
    statistics = choose_statistics(tmp_path / path, V3, asked="imagenet")
    assert statistics.mean == (0.485, 0.456, 0.406)


def test_choose_statistics__only_dinov3_was_trained_on_satellites(tmp_path: Path):
    assert choose_statistics(tmp_path / "my_sat493m.pth", V2).origin.startswith("ImageNet")


def test_choose_statistics__from_timms_config(tmp_path: Path):
    config = {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    statistics = choose_statistics(tmp_path / "sat493m.safetensors", V3)
    assert (statistics.mean, statistics.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert statistics.origin == "timm's config.json"
    sat_statistics = choose_statistics(tmp_path / "x", V3, asked="sat493m")
    assert (sat_statistics.mean, sat_statistics.origin) == (SAT, "sat493m, as asked")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"pretrained_cfg": 3}', '{"pretrained_cfg": {"mean": [1, 2]}}',
     '{"pretrained_cfg": {"mean": [1, 2], "std": [1, 2, 3]}}', "[" * 100_000,
     f'{{"pretrained_cfg": {{"mean": [1{"0" * 400}, 2, 3], "std": [1, 2, 3]}}}}'],
)  # fmt: skip
def test_choose_statistics__another_config(tmp_path: Path, text: str):
    (tmp_path / "config.json").write_text(text)
    assert choose_statistics(tmp_path / "x.pth", V3).origin.startswith("ImageNet")


def test_choose_statistics__unknown_names(tmp_path: Path):
    with raising(ConfigError, setting="statistics", value="sat"):
        choose_statistics(tmp_path / "x.pth", V3, asked="sat")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "name", "origin"),
    [
        ("x/dinov3_vitl16_sat493m.pth", "", "file"),
        ("vit.sat493m/model.safetensors", "", "folder"),
        ("models--timm--vit.sat493m/snapshots/0f3a/model.safetensors", "", "folder"),
        ("facebook--dinov3-vitl16-pretrain-sat493m/commits/0f3a/config.json", "", "folder"),
        ("x/config.json", "facebook/dinov3-vit7b16-pretrain-sat493m", "model"),
    ],
)
def test_choose_statistics__origin_says_which_name(
    tmp_path: Path, path: str, name: str, origin: str
):
    statistics = choose_statistics(tmp_path / path, V3, name=name)
    assert (statistics.mean, statistics.origin) == (SAT, f"sat493m, by the name of the {origin}")


def test_name_folder__by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot = tmp_path / "models--facebook--dinov2-base" / "snapshots" / "0f3a"
    snapshot.mkdir(parents=True)
    (tmp_path / "latest").symlink_to(snapshot)
    assert name_folder(snapshot) == "facebook/dinov2-base@0f3a"
    assert (
        name_folder(tmp_path / "facebook--dinov2-base/commits/0f3a") == "facebook/dinov2-base@0f3a"
    )
    assert name_folder(tmp_path / "latest") == "latest"
    monkeypatch.chdir(snapshot)
    assert name_folder(Path()) == "facebook/dinov2-base@0f3a"
    assert name_folder(Path("..")) == "snapshots"
    assert name_folder(Path("weights")) == "weights"


def test_complete_preprocessor__keeps_other_keys():
    statistics = Statistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "somewhere")
    preprocessor = {"crop_size": 224, "image_mean": [1, 1, 1], "statistics_from": "elsewhere"}
    completed_preprocessor = complete_preprocessor(preprocessor, statistics, V3)
    assert completed_preprocessor == {
        "crop_size": 224, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6],
        "statistics_from": "somewhere",
    }  # fmt: skip
    new_preprocessor = complete_preprocessor({}, statistics, V2)
    assert new_preprocessor["image_processor_type"] == "BitImageProcessor"
    assert new_preprocessor["do_resize"] is new_preprocessor["do_center_crop"] is False


# --- bytes ----------------------------------------------------------------------------------


def test_plan_shards__by_hand():
    pieces = [Piece("b", (2, 2), "b"), Piece("a", (3,), "a"), Piece("c", (1,), "c")]
    dtypes = {"a": "BF16", "b": "F32", "c": "F32"}  # 6, 16 and 4 bytes
    (single_shard,) = plan_shards(pieces, dtypes, max_bytes=26)
    assert single_shard.name == "model.safetensors"
    assert [piece.name for piece in single_shard.pieces] == ["b", "c", "a"]  # wide items first
    first_shard, second_shard = plan_shards(pieces, dtypes, max_bytes=25)
    assert (first_shard.name, second_shard.name) == (
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    )  # fmt: skip
    assert [piece.name for piece in first_shard.pieces] == ["b", "a"]
    assert first_shard.bytes == len(first_shard.header) + 16 + 6
    assert make_index((first_shard, second_shard), dtypes) == {
        "metadata": {"total_size": 26},
        "weight_map": {"a": first_shard.name, "b": first_shard.name, "c": second_shard.name},
    }
    assert len(plan_shards(pieces, dtypes, max_bytes=1)) == 3  # no tensor is divided


@pytest.mark.parametrize("long", ["b", "bb", "bbb", "bbbb"])  # headers of any length
def test_plan_shards__safetensors_can_read_it(long: str):
    pieces = [Piece("a", (3,), "a"), Piece(long, (2, 2), long)]
    tensors = {"a": torch.tensor([1, -2, 3], dtype=torch.bfloat16), long: torch.eye(2)}
    (shard,) = plan_shards(pieces, {"a": "BF16", long: "F32"}, max_bytes=100)
    assert len(shard.header) % 8 == 0
    loaded_tensors = load(
        shard.header + b"".join(view_bytes(tensors[p.name]) for p in shard.pieces)
    )
    assert all(torch.equal(loaded_tensors[name], tensor) for name, tensor in tensors.items())
