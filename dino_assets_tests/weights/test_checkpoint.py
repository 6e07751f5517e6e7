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
from dino_assets.weights.architecture import CONFIG, check_config
from dino_assets.weights.checkpoint import (
    IMAGENET_MEAN,
    INDEX,
    PREPROCESSOR,
    WEIGHTS,
    digest_files,
    is_kept,
    read_checkpoint,
    read_shapes,
)
from dino_assets.weights.records import Checkpoint, CheckpointFile

SAT_MEAN, SAT_STD = [0.430, 0.411, 0.296], [0.213, 0.156, 0.143]


def write_model(folder: Path, family: str, *, is_sharded: bool) -> int:
    """A tiny model, written by transformers itself; returns its number of parameters."""
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
        DINOv3ViTConfig,
        DINOv3ViTModel,
    )

    common: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    if family == "dinov2":
        model: Any = Dinov2Model(Dinov2Config(**common, patch_size=14, image_size=56))
    elif family == "dinov2_with_registers":
        config = Dinov2WithRegistersConfig(**common, patch_size=14, image_size=56)
        model = Dinov2WithRegistersModel(config)
    else:
        options = {"num_register_tokens": 4, "patch_size": 16, "intermediate_size": 32}
        model = DINOv3ViTModel(DINOv3ViTConfig(**common, **options, image_size=64))
    model.save_pretrained(folder, max_shard_size="20KB" if is_sharded else "1GB")
    write_json(folder / PREPROCESSOR, {"image_mean": SAT_MEAN, "image_std": SAT_STD})
    return int(sum(parameter.numel() for parameter in model.parameters()))


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


@pytest.fixture(scope="module")
def sharded_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    write_model(folder, "dinov2", is_sharded=True)
    return folder


@pytest.fixture
def single(checkpoint_dir: Path, tmp_path: Path) -> Path:
    """A copy of the demo checkpoint: DINOv3, 16 dims, 2 layers, 4 registers."""
    return Path(shutil.copytree(checkpoint_dir, tmp_path / "single"))


@pytest.fixture
def sharded(sharded_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded_dir, tmp_path / "sharded"))


def read(folder: Path) -> Checkpoint:
    return read_checkpoint(folder, model="the/model")


def change(path: Path, **values: object) -> None:
    write_json(path, json.loads(path.read_text()) | values)


# --- whole checkpoints ----------------------------------------------------------------------


@pytest.mark.parametrize("is_sharded", [False, True])
@pytest.mark.parametrize(
    ("family", "patch_px", "registers", "tile_px"),
    [("dinov2", 14, 0, 518), ("dinov2_with_registers", 14, 4, 518), ("dinov3_vit", 16, 4, 512)],
)
def test_read_checkpoint__written_by_transformers(
    tmp_path: Path, family: str, patch_px: int, registers: int, tile_px: int, is_sharded: bool
):
    parameters = write_model(tmp_path, family, is_sharded=is_sharded)
    assert (tmp_path / INDEX).is_file() == is_sharded
    found = read(tmp_path)
    assert (found.model, found.family, found.dim, found.layers, found.heads) == (
        "the/model", family, 16, 3, 2,
    )  # fmt: skip
    assert (found.patch_px, found.registers, found.tile_px) == (patch_px, registers, tile_px)
    assert found.parameters == parameters
    assert (list(found.mean), list(found.std)) == (SAT_MEAN, SAT_STD)
    assert found.statistics_from == PREPROCESSOR
    assert {file.name for file in found.files} == {path.name for path in tmp_path.iterdir()}


def test_read_checkpoint__single_file_is_known_by_its_own_sha256(single: Path):
    by_name = {file.name: file for file in read(single).files}
    assert read(single).weights_sha256 == by_name[WEIGHTS].sha256
    assert by_name[WEIGHTS].bytes == (single / WEIGHTS).stat().st_size


def test_read_checkpoint__without_statistics(single: Path):
    write_json(single / PREPROCESSOR, {})
    found = read(single)
    assert found.mean == IMAGENET_MEAN
    assert found.statistics_from.startswith("ImageNet")


@pytest.mark.parametrize("said", ["", "  ", None, 3])
def test_read_checkpoint__statistics_say_where_they_are_from(single: Path, said: object):
    assert read(single).statistics_from == PREPROCESSOR
    change(single / PREPROCESSOR, statistics_from="sat493m, by the name of the file")
    assert read(single).statistics_from == "sat493m, by the name of the file"
    change(single / PREPROCESSOR, statistics_from=said)
    assert read(single).statistics_from == PREPROCESSOR


def test_read_checkpoint__origin_of_no_statistics_is_not_believed(single: Path):
    write_json(single / PREPROCESSOR, {"statistics_from": "heaven"})
    assert read(single).statistics_from == "ImageNet (the checkpoint names none)"


def test_read_checkpoint__satellites_by_the_models_name(single: Path, sharded: Path):
    for folder in (single, sharded):
        write_json(folder / PREPROCESSOR, {})
    found = read_checkpoint(single, model="facebook/DINOv3-vitl16-pretrain-SAT493m")
    assert (list(found.mean), list(found.std)) == (SAT_MEAN, SAT_STD)
    assert found.statistics_from == "sat493m, by the model's name"
    found = read_checkpoint(sharded, model="dinov2-sat493m")  # only DINOv3 was trained on them
    assert found.mean == IMAGENET_MEAN
    change(single / PREPROCESSOR, image_mean=[0.1] * 3, image_std=[0.2] * 3)
    assert read_checkpoint(single, model="x-sat493m").mean == (0.1, 0.1, 0.1)


def test_read_checkpoint__the_repository_is_known_better_than_the_folder(single: Path):
    write_json(single / PREPROCESSOR, {})
    repo = "facebook/dinov3-vitl16-pretrain-sat493m"
    found = read_checkpoint(single, model="models/dinov3", published_as=repo)
    assert (found.model, list(found.mean)) == ("models/dinov3", SAT_MEAN)
    assert found.statistics_from == "sat493m, by the model's name"
    other = read_checkpoint(single, model="sat493m", published_as="facebook/dinov3-vits16")
    assert other.mean == IMAGENET_MEAN


def test_read_checkpoint__hidden_files_do_not_count(single: Path):
    before = read(single)
    for name in (".dino-assets.json", "._README.md", ".adapter.safetensors"):
        (single / name).write_text("{}")
    assert read(single) == before


def test_read_checkpoint__registers_as_the_documents_spell_them(single: Path):
    config = json.loads((single / CONFIG).read_text())
    config["num_registers"] = config.pop("num_register_tokens")
    write_json(single / CONFIG, config)
    assert read(single).registers == 4


def test_read_checkpoint__links_as_in_the_hub_cache(single: Path, tmp_path: Path):
    snapshot = tmp_path / "models--x" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for path in single.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert read(snapshot) == read(single)


def test_read_checkpoint__subfolders_and_foreign_files_do_not_count(single: Path):
    before = read(single)
    (single / "onnx").mkdir()
    (single / "onnx" / "model.json").write_text("{}")
    (single / "training.log").write_text("x")
    (single / "optimizer.pt").write_bytes(b"x")
    assert read(single) == before


def test_read_checkpoint__only_the_used_weights_are_the_weights(single: Path):
    before = read(single)
    shutil.copy(single / WEIGHTS, single / "adapter.safetensors")
    assert read(single).weights_sha256 == before.weights_sha256
    assert read(single).revision != before.revision


def test_read_checkpoint__single_file_is_taken_before_an_index(single: Path, sharded: Path):
    shutil.copy(sharded / INDEX, single / INDEX)  # transformers takes them in this order
    assert read(single).layers == 2


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, PREPROCESSOR, "README.md"])
def test_read_checkpoint__a_flipped_byte_changes_the_revision(single: Path, name: str):
    before = read(single)
    data = bytearray((single / name).read_bytes())
    data[-3] ^= 0x20  # a blank, a letter or a weight: every file still parses
    if name.endswith(".json"):
        data = bytearray((single / name).read_bytes() + b" ")
    (single / name).write_bytes(bytes(data))
    after = read(single)
    assert after.revision != before.revision
    assert (after.weights_sha256 != before.weights_sha256) == (name == WEIGHTS)


def test_read_checkpoint__renamed_shards_are_another_checkpoint(sharded: Path):
    before = read(sharded)
    shard = sorted(sharded.glob("*.safetensors"))[0]
    index = (sharded / INDEX).read_text().replace(shard.name, "renamed.safetensors")
    (sharded / INDEX).write_text(index)
    shard.rename(sharded / "renamed.safetensors")
    assert read(sharded).weights_sha256 != before.weights_sha256


def test_digest_files__by_hand():
    one, two = CheckpointFile("a", "11", 1), CheckpointFile("b", "22", 1)
    assert digest_files([one]) == "11"
    assert digest_files([one, two]) == digest_files([two, one])
    swapped = [CheckpointFile("a", "22", 1), CheckpointFile("b", "11", 1)]
    assert digest_files(swapped) != digest_files([one, two])


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlicense: apache-2.0\ntags:\n- x\n---\n# Card"}, "apache-2.0"),
        ({"README.md": "---\r\nlicense: mit\r\n---\r\n"}, "mit"),
        ({"README.md": "\ufeff---\nlicense: mit\n---\n"}, "mit"),
        (
            {"README.md": "---\nlicense: other\nlicense_name: dinov3-license\n---\n"},
            "dinov3-license",
        ),
        ({"README.md": "---\nlicense:\n- a\n---\n"}, None),
        ({"README.md": "license: mit", "LICENSE": "text"}, "see LICENSE"),
        ({"LICENSE.md": "text"}, "see LICENSE.md"),
        ({"LICENSE.md": "text", "README.md": "# Card, no front"}, "see LICENSE.md"),
        ({"License": "text"}, "see License"),
        ({"license.TXT": "text"}, "see license.TXT"),
        ({"NOTICE": "text"}, "see NOTICE"),
        ({"LICENSE.rst": "text"}, "see LICENSE.rst"),
        ({"NOTICE-Meta": "text"}, "see NOTICE-Meta"),
        ({"ReadMe.md": "---\nlicense: mit\n---\n"}, "mit"),
        ({}, None),
    ],
)
def test_read_checkpoint__licence(single: Path, files: dict[str, str], licence: str | None):
    (single / "README.md").unlink()
    for name, text in files.items():
        (single / name).write_bytes(text.encode())
    found = read(single)
    assert found.licence == licence
    assert set(files) <= {file.name for file in found.files}  # a licence travels with the weights


@pytest.mark.parametrize(
    ("name", "is_so"),
    [
        ("LICENSE.rst", True), ("NOTICE-Meta", True), ("License.md", True), ("licence", True),
        ("notice.PDF", True), ("readme.MD", True), ("model.safetensors", True), ("a.JSON", True),
        (".license", False), ("._README.md", False), ("head.pt", False), ("alicense", False),
    ],
)  # fmt: skip
def test_is_kept__by_hand(name: str, is_so: bool):
    assert is_kept(name) == is_so


# --- what is missing ------------------------------------------------------------------------


def test_read_checkpoint__no_folder(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError, match="no checkpoint directory 'the/model'"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [CONFIG, PREPROCESSOR])
def test_read_checkpoint__missing_json(single: Path, name: str):
    (single / name).unlink()
    with pytest.raises(CheckpointNotFoundError, match=f"'the/model': {name} is missing"):
        read(single)


def test_read_checkpoint__missing_weights(single: Path):
    (single / WEIGHTS).unlink()
    with pytest.raises(CheckpointNotFoundError, match=f"{WEIGHTS} is missing. Fetch or copy"):
        read(single)


def test_read_checkpoint__dangling_link(single: Path):
    (single / WEIGHTS).unlink()
    (single / WEIGHTS).symlink_to(single / "gone")
    with pytest.raises(CheckpointNotFoundError, match=f"{WEIGHTS} is missing"):
        read(single)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "dinov2_vitb14_pretrain.pth", "x.pt"])
def test_read_checkpoint__pickled_only(single: Path, name: str):
    (single / WEIGHTS).rename(single / name)
    with pytest.raises(InvalidCheckpointError, match=f"only pickled weights \\({name}\\).*Convert"):
        read(single)


def test_read_checkpoint__missing_shard(sharded: Path):
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(InvalidCheckpointError, match=f"1 are missing: {shard.name}. Fetch"):
        read(sharded)


# --- damaged files --------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 100, 3000])
def test_read_checkpoint__truncated_weights(single: Path, cut: int):
    data = (single / WEIGHTS).read_bytes()
    (single / WEIGHTS).write_bytes(data[:-cut])
    with pytest.raises(InvalidCheckpointError) as caught:
        read(single)
    assert f"has {len(data) - cut:,} bytes, its header announces {len(data):,}" in str(caught.value)


def test_read_checkpoint__truncated_shard(sharded: Path):
    shard = sorted(sharded.glob("*.safetensors"))[-1]
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InvalidCheckpointError, match=f"{shard.name} has .* header announces"):
        read(sharded)


def test_read_checkpoint__padded_weights(single: Path):
    with (single / WEIGHTS).open("ab") as file:
        file.write(b"\0" * 8)
    with pytest.raises(
        InvalidCheckpointError, match=r"header announces .*The copy is not complete"
    ):
        read(single)


@pytest.mark.parametrize(
    "data",
    [b"", b"\1", b"\0" * 8, b"\xff" * 200, b"\x40\0\0\0\0\0\0\0{}", b"<html>not found</html>"],
)
def test_read_shapes__not_safetensors(tmp_path: Path, data: bytes):
    path = tmp_path / WEIGHTS
    path.write_bytes(data)
    with pytest.raises(
        InvalidCheckpointError, match=rf"not a whole safetensors file \({len(data)} bytes\)"
    ):
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
def test_read_shapes__senseless_header(tmp_path: Path, header: bytes, body: bytes):
    path = tmp_path / WEIGHTS
    path.write_bytes(tensor_file(header, body))
    with pytest.raises(
        InvalidCheckpointError, match=r"the header of model.safetensors does not pars"
    ):
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
    with pytest.raises(InvalidCheckpointError, match=f"'the/model': {name} is not JSON"):
        read(single)


@pytest.mark.parametrize("name", [CONFIG, PREPROCESSOR, INDEX])
def test_read_checkpoint__byte_order_mark(sharded: Path, name: str):
    """transformers, too, opens no such file."""
    (sharded / name).write_bytes(b"\xef\xbb\xbf" + (sharded / name).read_bytes())
    with pytest.raises(
        InvalidCheckpointError,
        match=f"{name} begins with a byte order mark, at which transformers stops. Save it as",
    ):
        read(sharded)
    (sharded / name).write_text((sharded / name).read_text("utf-8-sig"), encoding="utf-16")
    with pytest.raises(InvalidCheckpointError, match=f"{name} is not JSON"):
        read(sharded)


def test_read_checkpoint__json_that_is_no_object(single: Path):
    (single / CONFIG).write_text("[]")
    with pytest.raises(InvalidCheckpointError, match=r"config.json holds no JSON object"):
        read(single)


# --- contradictions -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"hidden_size": 32},
            r"calls for patch embedding \(32, 3, 16, 16\), the weights have \(16,",
        ),
        ({"patch_size": 14}, r"calls for patch embedding \(16, 3, 14, 14\), the weights"),
        ({"num_channels": 4}, r"calls for patch embedding \(16, 4, 16, 16\)"),
        ({"num_hidden_layers": 3}, "calls for 3 layers, the weights have 2"),
        ({"num_hidden_layers": 1}, "calls for 1 layers, the weights have 2"),
        (
            {"num_register_tokens": 5},
            r"register tokens \(1, 5, 16\), the weights have \(1, 4, 16\)",
        ),
        ({"num_register_tokens": 0}, r"register tokens none, the weights have \(1, 4, 16\)"),
        ({"num_register_tokens": None}, "num_register_tokens=None; a whole number from 0"),
        ({"num_register_tokens": "four"}, "num_register_tokens='four'"),
        ({"num_channels": "three"}, "num_channels='three'; a whole number from 1"),
        ({"hidden_size": 16.0}, "hidden_size=16.0; a whole number from 1 is expected"),
        ({"hidden_size": True}, "hidden_size=True"),
        ({"num_attention_heads": 0}, "num_attention_heads=0"),
        ({"patch_size": [16, 16]}, r"patch_size=\[16, 16\]"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000; .* at most 1,000,000"),
        ({"num_hidden_layers": 10**6}, "calls for 1000000 layers, the weights have 2"),
        ({"hidden_size": 10**30}, "at most 1,000,000"),
        ({"intermediate_size": 10**4000}, "at most 1,000,000"),
        ({"intermediate_size": -5}, "intermediate_size=-5; a whole number from 1"),
        ({"image_size": 0}, "image_size=0; a whole number from 1"),
        ({"patch_size": -16}, "patch_size=-16"),
        ({"model_type": "vit"}, "is a 'vit' model; dinov2, dinov2_with_registers, dinov3_vit are"),
        ({"model_type": None}, "is a None model"),
        ({"model_type": ["dinov2"]}, r"is a \['dinov2'\] model"),
    ],
)
def test_read_checkpoint__config_contradicts_weights(
    single: Path, values: dict[str, object], message: str
):
    change(single / CONFIG, **values)
    with pytest.raises(InvalidCheckpointError, match=f"'the/model'.*{message}"):
        read(single)


@pytest.mark.parametrize(
    "ratio", [10**400, 1e308, float("nan"), float("inf"), float("-inf"), -4, 0, 0.0, 10**4000]
)
@pytest.mark.parametrize("is_gated", [False, True])
def test_read_checkpoint__senseless_mlp_ratio(sharded: Path, ratio: float, is_gated: bool):
    change(sharded / CONFIG, mlp_ratio=ratio, use_swiglu_ffn=is_gated)
    with pytest.raises(InvalidCheckpointError, match=r"mlp_ratio=.*; a number above 0 is expected"):
        read(sharded)


_DEEP: Any = json.loads("[" * 500 + "]" * 500)
_ODD = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.just(_DEEP),
    st.integers(), st.integers(-3, 3).map(lambda power: 10 ** (1000 * power) if power > 0 else power),
    st.lists(st.integers(), max_size=3), st.just({"x": _DEEP}),
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
    values=st.dictionaries(st.sampled_from(_FIELDS), _ODD, min_size=1, max_size=3),
    said=st.dictionaries(st.sampled_from(["image_mean", "image_std"]), _ODD, max_size=2),
    is_v3=st.booleans(),
)
def test_read_checkpoint__odd_values_raise_nothing_else(
    checkpoint_dir: Path, sharded_dir: Path, tmp_path: Path, values: Any, said: Any, is_v3: bool
):
    source = checkpoint_dir if is_v3 else sharded_dir
    folder = tmp_path / source.name
    if not folder.exists():
        shutil.copytree(source, folder)
    write_json(folder / CONFIG, json.loads((source / CONFIG).read_text()) | values)
    write_json(folder / PREPROCESSOR, said)
    with contextlib.suppress(InvalidCheckpointError):
        assert read(folder).layers in (2, 3)


def test_check_config__reads_nothing_else(single: Path):
    for name in (WEIGHTS, PREPROCESSOR):
        (single / name).unlink()
    assert (check_config(single, "m").family, check_config(single, "m").dim) == ("dinov3_vit", 16)
    change(single / CONFIG, model_type="llama")
    with pytest.raises(InvalidCheckpointError, match="'m' is a 'llama' model"):
        check_config(single, "m")
    (single / CONFIG).write_text("{")
    with pytest.raises(InvalidCheckpointError, match=r"'m': config.json is not JSON"):
        check_config(single, "m")
    (single / CONFIG).unlink()
    with pytest.raises(CheckpointNotFoundError, match=r"'m': config.json is missing"):
        check_config(single, "m")


@pytest.mark.parametrize("tensor", ["embeddings.cls_token", "embeddings.register_tokens"])
def test_read_checkpoint__tensor_is_missing(single: Path, tensor: str):
    tensors = load_file(single / WEIGHTS)
    del tensors[tensor]
    save_file(tensors, single / WEIGHTS)
    with pytest.raises(InvalidCheckpointError, match=r"the weights have none. The files belong"):
        read(single)


def test_read_checkpoint__a_layer_under_another_number(single: Path):
    tensors = load_file(single / WEIGHTS)
    renamed = {name.replace("layer.1.", "layer.7."): value for name, value in tensors.items()}
    save_file(renamed, single / WEIGHTS)
    with pytest.raises(InvalidCheckpointError, match="calls for 2 layers"):
        read(single)


def test_read_checkpoint__config_of_another_family(tmp_path: Path):
    # Without this the registers would be dropped on loading, and every vector be slightly wrong.
    write_model(tmp_path, "dinov2_with_registers", is_sharded=False)
    config = json.loads((tmp_path / CONFIG).read_text())
    del config["num_register_tokens"]
    write_json(tmp_path / CONFIG, config | {"model_type": "dinov2"})
    with pytest.raises(InvalidCheckpointError, match="register tokens none, the weights have"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_std": [0.2, 0.0, 0.2]}, "image_std above 0"),
        ({"image_std": [0.2, -0.1, 0.2]}, "image_std above 0"),
        ({"image_std": [0.2, float("nan"), 0.2]}, "finite numbers are expected"),
        ({"image_mean": [0.2, float("inf"), 0.2]}, "finite numbers are expected"),
        ({"image_mean": [0.5, 0.5]}, "three numbers each are expected"),
        ({"image_mean": 0.5}, "three numbers each are expected"),
        ({"image_mean": "abc"}, "three numbers each are expected"),
        ({"image_mean": [10**400, 0, 0]}, "three numbers each are expected"),
        ({"image_std": None}, "image_std=None; three numbers each are expected"),
    ],
)
def test_read_checkpoint__bad_statistics(single: Path, values: dict[str, object], message: str):
    change(single / PREPROCESSOR, **values)
    with pytest.raises(InvalidCheckpointError, match=f"preprocessor_config.json has .*{message}"):
        read(single)


# --- the index ------------------------------------------------------------------------------


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
def test_read_checkpoint__index_leads_elsewhere(sharded: Path, make_name: Callable[[Path], object]):
    outside = sharded.parent / "outside.safetensors"
    shard = sorted(sharded.glob("*.safetensors"))[0]
    shutil.copy(shard, outside)
    index = json.loads((sharded / INDEX).read_text())
    name = make_name(outside)
    index["weight_map"][next(iter(index["weight_map"]))] = name
    write_json(sharded / INDEX, index)
    with pytest.raises(InvalidCheckpointError) as caught:
        read(sharded)
    assert f"{INDEX} names the shard {name!r}; a .safetensors file beside it" in str(caught.value)


@pytest.mark.parametrize("weight_map", [None, {}, [], "x", 3])
def test_read_checkpoint__index_names_no_shards(sharded: Path, weight_map: object):
    write_json(sharded / INDEX, {"weight_map": weight_map})
    with pytest.raises(InvalidCheckpointError, match=f"{INDEX} names no shards in 'weight_map'"):
        read(sharded)


def test_read_checkpoint__index_names_a_tensor_that_no_shard_holds(sharded: Path):
    index = json.loads((sharded / INDEX).read_text())
    index["weight_map"]["head.weight"] = next(iter(index["weight_map"].values()))
    write_json(sharded / INDEX, index)
    with pytest.raises(
        InvalidCheckpointError, match=r"1 tensors that no shard holds, 'head.weight'"
    ):
        read(sharded)


def test_read_checkpoint__registers_of_none(tmp_path: Path):
    """transformers writes a tensor without rows for a DINOv3 that has no registers."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, num_register_tokens=0
    )
    DINOv3ViTModel(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert read(tmp_path).registers == 0


def test_read_checkpoint__names_the_network_by_what_it_computes(tmp_path: Path):
    write_model(tmp_path, "dinov2", is_sharded=False)
    first = read(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    for changes, is_same in (
        ({"transformers_version": "9", "architectures": None, "dtype": "float16"}, True),
        ({"layer_norm_eps": 1e-3}, False),
        ({"hidden_act": "relu"}, False),
    ):
        write_json(tmp_path / CONFIG, config | changes)
        found = read(tmp_path)
        assert found.weights_sha256 == first.weights_sha256
        assert (found.network == first.network) is is_same, changes
    write_json(tmp_path / CONFIG, config)
    write_json(
        tmp_path / "preprocessor_config.json", {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    )
    assert read(tmp_path).network != first.network
