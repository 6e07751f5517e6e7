"""Refused checkpoints: missing, damaged and contradictory files."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from dino_assets.errors import CheckpointNotFoundError, InvalidCheckpointError
from dino_assets.weights.architecture import CONFIG, check_config, shorten
from dino_assets.weights.checkpoint import (
    INDEX,
    PREPROCESSOR,
    WEIGHTS,
    read_shapes,
)
from dino_assets_tests.worlds.checkpoint_folders import change, read, write_json, write_model
from dino_assets_tests.worlds.raising import raising


def test_read_checkpoint__no_folder(tmp_path: Path):
    with raising(CheckpointNotFoundError, file="the/model"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [CONFIG, PREPROCESSOR])
def test_read_checkpoint__missing_json(single: Path, name: str):
    (single / name).unlink()
    with raising(CheckpointNotFoundError, file=name):
        read(single)


def test_read_checkpoint__missing_weights(single: Path):
    (single / WEIGHTS).unlink()
    with raising(
        CheckpointNotFoundError,
        file=WEIGHTS,
        match=f"^'the/model': {WEIGHTS} is missing. Fetch or copy",
    ):
        read(single)


def test_read_checkpoint__dangling_link(single: Path):
    (single / WEIGHTS).unlink()
    (single / WEIGHTS).symlink_to(single / "gone")
    with raising(CheckpointNotFoundError, file=WEIGHTS):
        read(single)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "dinov2_vitb14_pretrain.pth", "x.pt"])
def test_read_checkpoint__pickled_only(single: Path, name: str):
    (single / WEIGHTS).rename(single / name)
    with raising(InvalidCheckpointError, file=name, reason="code"):
        read(single)


def test_read_checkpoint__missing_shard(sharded: Path):
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    with raising(InvalidCheckpointError, file=shard.name, reason="missing"):
        read(sharded)


@pytest.mark.parametrize("cut", [1, 100, 3000])
def test_read_checkpoint__truncated_weights(single: Path, cut: int):
    data = (single / WEIGHTS).read_bytes()
    (single / WEIGHTS).write_bytes(data[:-cut])
    sentence = (
        rf"{WEIGHTS} \({len(data) - cut:,} bytes\) is not a whole safetensors file \(.*\). Fetch"
    )
    with raising(InvalidCheckpointError, file=WEIGHTS, reason="unreadable", match=sentence):
        read(single)


def test_read_checkpoint__truncated_shard(sharded: Path):
    shard = sorted(sharded.glob("*.safetensors"))[-1]
    shard.write_bytes(shard.read_bytes()[:-1])
    with raising(InvalidCheckpointError, file=shard.name, reason="unreadable"):
        read(sharded)


def test_read_checkpoint__padded_weights(single: Path):
    with (single / WEIGHTS).open("ab") as file:
        file.write(b"\0" * 8)
    with raising(InvalidCheckpointError, file=WEIGHTS, reason="unreadable"):
        read(single)


@pytest.mark.parametrize(
    "data",
    [b"", b"\1", b"\0" * 8, b"\xff" * 200, b"\x40\0\0\0\0\0\0\0{}", b"<html>not found</html>"],
)
def test_read_shapes__not_safetensors(tmp_path: Path, data: bytes):
    path = tmp_path / WEIGHTS
    path.write_bytes(data)
    with raising(InvalidCheckpointError, file=WEIGHTS, reason="unreadable"):
        read_shapes(path, "m")


def tensor_file(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + body


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"{not json}", b""),
        (b"[1, 2]", b""),
        (b'{"a": 1}', b""),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}', b""),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, "4"]}}', b"\0" * 4),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, null]}}', b"\0" * 4),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', b"\0" * 4),
        (b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"\0" * 4),
        (b'{"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}', b"\0" * 4),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}', b"\0" * 8),
        (b"[" * 100_000, b""),
        (b'{"a": {"data_offsets": [0, Infinity]}}', b""),
        (b'{"a": {"data_offsets": [0, NaN]}}', b""),
        (b'{"a": {"data_offsets": [0, ' + b"9" * 4300 + b"]}}", b""),
        (b'{"a": "\xff"}', b""),
    ],
)
def test_read_shapes__invalid_header(tmp_path: Path, header: bytes, body: bytes):
    path = tmp_path / WEIGHTS
    path.write_bytes(tensor_file(header, body))
    with raising(InvalidCheckpointError, file=WEIGHTS, reason="unreadable"):
        read_shapes(path, "m")


def test_read_shapes__by_hand(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.float16([1])}, path, {"format": "pt"})
    assert read_shapes(path, "m") == {"a": (2, 3), "b": (1,)}


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4))
def test_read_shapes__damaged_header_raises_nothing_else(
    tmp_path: Path, edits: list[tuple[int, int]]
):
    path = tmp_path / WEIGHTS
    save_file({name: np.zeros((2, 3), np.float32) for name in "abcd"}, path)
    data = bytearray(path.read_bytes())
    for position, value in edits:
        data[position % len(data)] = value
    path.write_bytes(bytes(data))
    try:
        shapes = read_shapes(path, "m")
    except InvalidCheckpointError:
        return
    assert all(isinstance(side, int) for shape in shapes.values() for side in shape)


@pytest.mark.parametrize("name", [CONFIG, PREPROCESSOR])
@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_read_checkpoint__bad_json(single: Path, name: str, data: bytes):
    (single / name).write_bytes(data)
    with raising(InvalidCheckpointError, file=name, key="", reason="unreadable"):
        read(single)


@pytest.mark.parametrize("name", [CONFIG, PREPROCESSOR, INDEX])
def test_read_checkpoint__byte_order_mark(sharded: Path, name: str):
    """transformers cannot read such a file either."""
    (sharded / name).write_bytes(b"\xef\xbb\xbf" + (sharded / name).read_bytes())
    with raising(InvalidCheckpointError, file=name, key="byte order mark", reason="unreadable"):
        read(sharded)
    (sharded / name).write_text((sharded / name).read_text("utf-8-sig"), encoding="utf-16")
    with raising(InvalidCheckpointError, file=name, key="", reason="unreadable"):
        read(sharded)


def test_read_checkpoint__json_that_is_not_an_object(single: Path):
    (single / CONFIG).write_text("[]")
    with raising(InvalidCheckpointError, file=CONFIG, reason="unsupported"):
        read(single)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"hidden_size": 32}, "patch embedding"),
        ({"patch_size": 14}, "patch embedding"),
        ({"num_channels": 4}, "patch embedding"),
        ({"num_hidden_layers": 3}, "layers"),
        ({"num_hidden_layers": 1}, "layers"),
        ({"num_hidden_layers": 10**6}, "layers"),
        ({"num_register_tokens": 5}, "register tokens"),
        ({"num_register_tokens": 0}, "register tokens"),
        ({"intermediate_size": 80}, "layer.0.mlp.up_proj.weight"),
    ],
)
def test_read_checkpoint__config_contradicts_weights(
    single: Path, values: dict[str, object], key: str
):
    change(single / CONFIG, **values)
    with raising(InvalidCheckpointError, file=CONFIG, key=key, reason="mismatch"):
        read(single)


def test_read_checkpoint__message_shows_both_sides_of_a_contradiction(single: Path):
    change(single / CONFIG, hidden_size=32)
    with pytest.raises(
        InvalidCheckpointError,
        match=r"^'the/model': config.json describes patch embedding \(32, 3, 16, 16\), but the weights have "
        r"\(16, 3, 16, 16\). The files belong to different models. Fetch or",
    ):
        read(single)


@pytest.mark.parametrize(
    "values",
    [
        {"num_register_tokens": None},
        {"num_register_tokens": "four"},
        {"num_channels": "three"},
        {"hidden_size": 16.0},
        {"hidden_size": True},
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"patch_size": [16, 16]},
        {"num_hidden_layers": 10**9},
        {"hidden_size": 10**30},
        {"intermediate_size": 10**4000},
        {"intermediate_size": -5},
        {"image_size": 0},
        {"patch_size": -16},
    ],
)
def test_read_checkpoint__impossible_sizes(single: Path, values: dict[str, object]):
    change(single / CONFIG, **values)
    (name,) = values
    with raising(InvalidCheckpointError, file=CONFIG, key=name, reason="impossible"):
        read(single)


def test_read_checkpoint__message_of_an_impossible_size(single: Path):
    change(single / CONFIG, num_hidden_layers=10**9)
    with pytest.raises(
        InvalidCheckpointError,
        match=r"'the/model': config.json has num_hidden_layers=1000000000; a whole number of at least 1 is "
        r"expected, at most 1,000,000",
    ):
        read(single)


@pytest.mark.parametrize("family", ["vit", None, ["dinov2"]])
def test_read_checkpoint__another_family(single: Path, family: object):
    change(single / CONFIG, model_type=family)
    with raising(InvalidCheckpointError, file=CONFIG, key="model_type", reason="unsupported"):
        read(single)


@pytest.mark.parametrize(
    "ratio", [10**400, 1e308, float("nan"), float("inf"), float("-inf"), -4, 0, 0.0, 10**4000]
)
@pytest.mark.parametrize("is_gated", [False, True])
def test_read_checkpoint__impossible_mlp_ratio(sharded: Path, ratio: float, is_gated: bool):
    change(sharded / CONFIG, mlp_ratio=ratio, use_swiglu_ffn=is_gated)
    with raising(InvalidCheckpointError, file=CONFIG, key="mlp_ratio", reason="impossible"):
        read(sharded)


_DEEP_LIST: Any = json.loads("[" * 500 + "]" * 500)


_ODD_VALUES = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.just(_DEEP_LIST),
    st.integers(), st.integers(-3, 3).map(lambda power: 10 ** (1000 * power) if power > 0 else power),
    st.lists(st.integers(), max_size=3), st.just({"x": _DEEP_LIST}),
)  # fmt: skip


_FIELDS = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size",
    "num_channels", "num_registers", "num_register_tokens", "intermediate_size", "mlp_ratio",
    "image_size", "use_gated_mlp", "use_swiglu_ffn", "imported_from", "random_weights_seed",
)  # fmt: skip


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.dictionaries(st.sampled_from(_FIELDS), _ODD_VALUES, min_size=1, max_size=3),
    statistics=st.dictionaries(
        st.sampled_from(["image_mean", "image_std"]), _ODD_VALUES, max_size=2
    ),
    is_v3=st.booleans(),
)
def test_read_checkpoint__odd_values_raise_nothing_else(
    checkpoint_dir: Path,
    sharded_dir: Path,
    tmp_path: Path,
    values: Any,
    statistics: Any,
    is_v3: bool,
):
    source = checkpoint_dir if is_v3 else sharded_dir
    folder = tmp_path / source.name
    if not folder.exists():
        shutil.copytree(source, folder)
    write_json(folder / CONFIG, json.loads((source / CONFIG).read_text()) | values)
    write_json(folder / PREPROCESSOR, statistics)
    with contextlib.suppress(InvalidCheckpointError):
        assert read(folder).layers in (2, 3)


def test_check_config__reads_nothing_else(single: Path):
    for name in (WEIGHTS, PREPROCESSOR):
        (single / name).unlink()
    assert (check_config(single, "m").family, check_config(single, "m").dim) == ("dinov3_vit", 16)
    change(single / CONFIG, model_type="llama")
    sentence = (
        "^'m': config.json has model_type='llama'; supported are "
        "dinov2, dinov2_with_registers, dinov3_vit. Choose another model.$"
    )
    with raising(InvalidCheckpointError, key="model_type", match=sentence):
        check_config(single, "m")
    (single / CONFIG).write_text("{")
    with raising(InvalidCheckpointError, file=CONFIG, reason="unreadable"):
        check_config(single, "m")
    (single / CONFIG).unlink()
    with raising(CheckpointNotFoundError, file=CONFIG):
        check_config(single, "m")


@pytest.mark.parametrize(
    ("tensor", "key"),
    [
        ("embeddings.cls_token", "cls token"),
        ("embeddings.register_tokens", "register tokens"),
        ("layer.1.norm1.weight", "layer.1.norm1.weight"),
    ],
)
def test_read_checkpoint__tensor_is_missing(single: Path, tensor: str, key: str):
    tensors = load_file(single / WEIGHTS)
    del tensors[tensor]
    save_file(tensors, single / WEIGHTS)
    with raising(InvalidCheckpointError, key=key, reason="mismatch"):
        read(single)


def test_read_checkpoint__a_layer_under_another_number(single: Path):
    tensors = load_file(single / WEIGHTS)
    renamed_tensors = {
        name.replace("layer.1.", "layer.7."): value for name, value in tensors.items()
    }
    save_file(renamed_tensors, single / WEIGHTS)
    with raising(InvalidCheckpointError, key="layers", reason="mismatch"):
        read(single)


def test_read_checkpoint__config_of_another_family(tmp_path: Path):
    # Otherwise loading would drop the registers, and every vector would be slightly wrong.
    write_model(tmp_path, "dinov2_with_registers", is_sharded=False)
    config = json.loads((tmp_path / CONFIG).read_text())
    del config["num_register_tokens"]
    write_json(tmp_path / CONFIG, config | {"model_type": "dinov2"})
    with raising(InvalidCheckpointError, key="register tokens", reason="mismatch"):
        read(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"image_std": [0.2, 0.0, 0.2]},
        {"image_std": [0.2, -0.1, 0.2]},
        {"image_std": [0.2, float("nan"), 0.2]},
        {"image_mean": [0.2, float("inf"), 0.2]},
        {"image_mean": [0.5, 0.5]},
        {"image_mean": 0.5},
        {"image_mean": "abc"},
        {"image_mean": [10**400, 0, 0]},
        {"image_std": None},
    ],
)
def test_read_checkpoint__bad_statistics(single: Path, values: dict[str, object]):
    change(single / PREPROCESSOR, **values)
    with raising(InvalidCheckpointError, file=PREPROCESSOR, reason="impossible"):
        read(single)


@pytest.mark.parametrize(
    "make_name",
    [
        lambda outside: "../outside.safetensors",
        lambda outside: str(outside),
        lambda outside: "sub/../../outside.safetensors",
        lambda outside: "sub\\outside.safetensors",
        lambda outside: "outside.bin",
        lambda outside: ".outside.safetensors",
        lambda outside: "",
        lambda outside: 7,
        lambda outside: None,
        lambda outside: ["x.safetensors"],
        lambda outside: {"a": 1},
    ],
)
def test_read_checkpoint__index_with_paths_outside_the_folder(
    sharded: Path, make_name: Callable[[Path], object]
):
    outside = sharded.parent / "outside.safetensors"
    shard = sorted(sharded.glob("*.safetensors"))[0]
    shutil.copy(shard, outside)
    index = json.loads((sharded / INDEX).read_text())
    name = make_name(outside)
    index["weight_map"][next(iter(index["weight_map"]))] = name
    write_json(sharded / INDEX, index)
    with raising(InvalidCheckpointError, file=INDEX, key=shorten(name), reason="outside"):
        read(sharded)


@pytest.mark.parametrize("weight_map", [None, {}, [], "x", 3])
def test_read_checkpoint__index_names_no_shards(sharded: Path, weight_map: object):
    write_json(sharded / INDEX, {"weight_map": weight_map})
    with raising(InvalidCheckpointError, file=INDEX, key="weight_map", reason="impossible"):
        read(sharded)


def test_read_checkpoint__index_names_a_tensor_that_no_shard_holds(sharded: Path):
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"]["head.weight"] = next(iter(index["weight_map"].values()))
    write_json(sharded / INDEX, index)
    with raising(InvalidCheckpointError, file=INDEX, key="head.weight", reason="mismatch"):
        read(sharded)


def test_read_checkpoint__empty_tensor_of_registers(tmp_path: Path):
    """transformers writes an empty tensor for a DINOv3 without registers."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, num_register_tokens=0
    )
    DINOv3ViTModel(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert read(tmp_path).registers == 0


def test_read_checkpoint__network_hash_depends_on_relevant_settings(tmp_path: Path):
    write_model(tmp_path, "dinov2", is_sharded=False)
    checkpoint = read(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    for changes, is_same in (
        ({"transformers_version": "9", "architectures": None, "dtype": "float16"}, True),
        ({"layer_norm_eps": 1e-3}, False),
        ({"hidden_act": "relu"}, False),
    ):
        write_json(tmp_path / CONFIG, config | changes)
        changed_checkpoint = read(tmp_path)
        assert changed_checkpoint.weights_sha256 == checkpoint.weights_sha256
        assert (changed_checkpoint.network == checkpoint.network) is is_same, changes
    write_json(tmp_path / CONFIG, config)
    write_json(
        tmp_path / "preprocessor_config.json", {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    )
    assert read(tmp_path).network != checkpoint.network
