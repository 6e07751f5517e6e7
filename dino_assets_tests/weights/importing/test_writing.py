"""Checkpoints of timm and Meta become ours, with the outputs of the original."""

import argparse
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import dino_assets.store.folders as folders
import dino_assets.weights.importing.plans as import_plans
import dino_assets.weights.importing.writing as imports
from dino_assets.embeddings.encoder import EngineSpec, NetworkSource, build_engine
from dino_assets.errors import (
    CheckpointNotFoundError,
    ChecksumError,
    ConfigError,
    InvalidCheckpointError,
)
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import INDEX, PREPROCESSOR, WEIGHTS, read_checkpoint
from dino_assets.weights.fetching import check_checkpoint
from dino_assets.weights.importing.writing import import_checkpoint
from dino_assets_tests.worlds.originals import (
    State,
    as_meta_v2,
    as_meta_v3,
    as_timm_v2,
    as_timm_v3,
    make_model,
    run_v2,
    run_v3,
)

REGISTERS = "dinov2_with_registers"
NO_BIASES = {"query_bias": False, "value_bias": False}
CASES: dict[str, tuple[Callable[[Any], State], str, dict[str, Any]]] = {
    "meta-v2": (as_meta_v2, "dinov2", {}),
    "meta-v2-wide": (as_meta_v2, "dinov2", {"dim": 192, "layers": 3, "grid": 3}),
    "meta-v2-swiglu": (as_meta_v2, "dinov2", {"dim": 128, "gated": True}),
    "meta-v2-reg": (as_meta_v2, REGISTERS, {"dim": 128}),
    "meta-v2-reg-swiglu": (as_meta_v2, REGISTERS, {"gated": True, "num_register_tokens": 3}),
    "timm-v2": (as_timm_v2, "dinov2", {"dim": 128, "grid": 5}),
    "timm-v2-swiglu": (as_timm_v2, "dinov2", {"dim": 128, "gated": True}),
    "timm-v2-reg": (as_timm_v2, REGISTERS, {"grid": 3}),
    "timm-v2-reg-swiglu": (as_timm_v2, REGISTERS, {"dim": 128, "gated": True}),
    "meta-v3": (as_meta_v3, "dinov3_vit", {"dim": 128}),
    "meta-v3-small-heads": (as_meta_v3, "dinov3_vit", {"dim": 96, "heads": 6}),
    "meta-v3-big-heads": (as_meta_v3, "dinov3_vit", {"dim": 256, "heads": 2} | NO_BIASES),
    "meta-v3-swiglu": (as_meta_v3, "dinov3_vit", {"gated": True, "intermediate_size": 152}),
    "meta-v3-swiglu-no-bias": (as_meta_v3, "dinov3_vit", {"gated": True} | NO_BIASES),
    "meta-v3-k-bias": (
        lambda model: as_meta_v3(model, masks_k=False),
        "dinov3_vit",
        {"dim": 128, "key_bias": True},
    ),
    "timm-v3": (as_timm_v3, "dinov3_vit", {"dim": 128} | NO_BIASES),
    "timm-v3-qkvb": (as_timm_v3, "dinov3_vit", {"dim": 192, "layers": 3}),
    "timm-v3-swiglu": (as_timm_v3, "dinov3_vit", {"gated": True, "intermediate_size": 192}),
    "timm-v3-swiglu-no-bias": (as_timm_v3, "dinov3_vit", {"gated": True} | NO_BIASES),
}


def write(path: Path, state: Any) -> Path:
    """As upstream writes it: timm safetensors, Meta a pickle."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def state() -> State:
    return as_meta_v3(make_model("dinov3_vit"))


@pytest.fixture
def source(tmp_path: Path, state: State) -> Path:
    (tmp_path / "in").mkdir()
    return write(tmp_path / "in" / "weights.pth", state)


# --- equal outputs --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_import_checkpoint__outputs_of_the_original(name: str, tmp_path: Path):
    from transformers import AutoModel

    upstream, family, options = CASES[name]
    model = make_model(family, **options)
    original = upstream(model)
    suffix = "safetensors" if name.startswith("timm") else "pth"
    done = import_checkpoint(write(tmp_path / f"w.{suffix}", original), tmp_path / "out")

    imported = AutoModel.from_pretrained(tmp_path / "out").eval()
    heads = model.config.num_attention_heads
    sides = [(64, 64), (48, 80)] if family == "dinov3_vit" else [(options.get("grid", 4) * 14,) * 2]
    run = run_v3 if family == "dinov3_vit" else run_v2
    for height, width in sides:
        pixels = torch.randn((2, 3, height, width), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = run(original, pixels, heads=heads)
            found = imported(pixels).last_hidden_state
        assert expected.std() > 0.1
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)

    checkpoint = done.checkpoint
    assert checkpoint == read_checkpoint(tmp_path / "out", model=str(tmp_path / "out"))
    assert (checkpoint.family, checkpoint.dim, checkpoint.layers, checkpoint.heads) == (
        family, model.config.hidden_size, model.config.num_hidden_layers, heads,
    )  # fmt: skip
    assert checkpoint.registers == getattr(model.config, "num_register_tokens", 0)
    assert checkpoint.parameters == sum(p.numel() for p in model.parameters())
    assert done.made == (("embeddings.mask_token",) if name.startswith("timm") else ())


@pytest.mark.parametrize("name", CASES)
def test_import_checkpoint__loads_with_nothing_missing_and_nothing_left(name: str, tmp_path: Path):
    from transformers import AutoModel

    upstream, family, options = CASES[name]
    model = make_model(family, **options)
    done = import_checkpoint(write(tmp_path / "w.pth", upstream(model)), tmp_path / "out")
    _, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    side = options.get("grid", 4) * done.checkpoint.patch_px
    source = NetworkSource(tmp_path / "out", done.checkpoint, side)
    encoder = build_engine(source, EngineSpec("torch", "cpu", "fp32", 1))
    assert (
        encoder.encode(np.zeros((1, side, side, 3), np.uint8)).cls.shape[1] == done.checkpoint.dim
    )

    # The files of transformers itself have the same names and the same values.
    model.save_pretrained(tmp_path / "theirs")
    theirs, ours = (load_file(tmp_path / place / WEIGHTS) for place in ("theirs", "out"))
    assert {name: t.shape for name, t in ours.items()} == {n: t.shape for n, t in theirs.items()}
    if not name.startswith("timm"):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    wanted, config = (
        json.loads((tmp_path / place / CONFIG).read_text()) for place in ("theirs", "out")
    )
    same = ["hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "model_type"]
    same += ["mlp_ratio", "use_swiglu_ffn", "intermediate_size", "use_gated_mlp", "hidden_act"]
    same += ["num_register_tokens", "layer_norm_eps", "rope_theta", "architectures", "dtype"]
    same += ["query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias", "qkv_bias"]
    same += ["image_size", "num_channels", "use_mask_token"]
    assert {key: config.get(key) for key in same} == {key: wanted.get(key) for key in same}


def test_import_checkpoint__position_grid_sets_the_side(tmp_path: Path):
    model = make_model("dinov2", grid=16, layers=1)  # 224 px, as timm resizes it
    import_checkpoint(write(tmp_path / "w.safetensors", as_timm_v2(model)), tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["image_size"] == 224


# --- wrappers -------------------------------------------------------------------------------


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


HEADS = {"dino_head.last_layer.weight": torch.ones(2), "ibot_head.mlp.0.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"state_dict": prefixed(state, "module.")},
        lambda state: {"teacher": prefixed(state, "backbone.") | HEADS},
        lambda state: {"model": {"teacher": prefixed(state, "module.backbone.")}, "student": {}},
        lambda state: {"teacher": prefixed(state | {"local_cls_norm.bias": torch.ones(64)}, "")},
        lambda state: {n: torch.nn.Parameter(t) for n, t in state.items()},
    ],
)  # fmt: skip
def test_import_checkpoint__wrappers(
    tmp_path: Path, state: State, wrap: Callable[[State], Any], source: Path
):
    plain = import_checkpoint(source, tmp_path / "plain")
    other = import_checkpoint(write(tmp_path / "w.pth", wrap(state)), tmp_path / "other")
    assert other.checkpoint.weights_sha256 == plain.checkpoint.weights_sha256


def test_import_checkpoint__blocks_in_chunks(tmp_path: Path, state: State, source: Path):
    """FSDP's groups: the number of the group, then that of the block, which counts through."""
    chunked = {name.replace("blocks.", "blocks.0."): tensor for name, tensor in state.items()}
    plain = import_checkpoint(source, tmp_path / "plain")
    other = import_checkpoint(write(tmp_path / "w.pth", chunked), tmp_path / "other")
    assert other.checkpoint.weights_sha256 == plain.checkpoint.weights_sha256


def test_import_checkpoint__old_pickles(tmp_path: Path, state: State, source: Path):
    torch.save(state, tmp_path / "w.PT", _use_new_zipfile_serialization=False)
    other = import_checkpoint(tmp_path / "w.PT", tmp_path / "other")
    plain = import_checkpoint(source, tmp_path / "plain")
    assert other.checkpoint.weights_sha256 == plain.checkpoint.weights_sha256


def test_import_checkpoint__leftovers_have_reasons(tmp_path: Path, state: State):
    extra = {"local_cls_norm.weight": torch.ones(64), "local_cls_norm.bias": torch.ones(64)}
    wrapped = {"teacher": prefixed(state | extra, "backbone.") | HEADS}
    done = import_checkpoint(write(tmp_path / "w.pth", wrapped), tmp_path / "out")
    assert set(done.leftovers) == {
        "rope_embed.periods", *extra, *HEADS,
        *(f"blocks.{i}.attn.qkv.{what}" for i in (0, 1) for what in ("bias", "bias_mask")),
    }  # fmt: skip
    assert "bias_mask sets to zero" in done.leftovers["blocks.0.attn.qkv.bias"]
    assert "small crops of training" in done.leftovers["local_cls_norm.bias"]
    assert "head of pre-training" in done.leftovers["dino_head.last_layer.weight"]
    assert "computes the rotary periods itself" in done.leftovers["rope_embed.periods"]


# --- dtypes, shards, repetition -------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_import_checkpoint__keeps_half_precision(
    tmp_path: Path, state: State, dtype: torch.dtype, suffix: str
):
    half = {name: tensor.to(dtype) for name, tensor in state.items()}
    import_checkpoint(write(tmp_path / f"w.{suffix}", half), tmp_path / "out")
    ours = load_file(tmp_path / "out" / WEIGHTS)
    assert {tensor.dtype for tensor in ours.values()} == {dtype}
    assert torch.equal(ours["norm.weight"], half["norm.weight"])
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["dtype"] == str(dtype)[6:]


def test_import_checkpoint__mixed_precision_is_loaded_in_the_wider(tmp_path: Path, state: State):
    mixed = state | {"blocks.0.norm1.bias": state["blocks.0.norm1.bias"].to(torch.bfloat16)}
    import_checkpoint(write(tmp_path / "w.pth", mixed), tmp_path / "out")
    ours = load_file(tmp_path / "out" / WEIGHTS)
    assert ours["layer.0.norm1.bias"].dtype == torch.bfloat16
    assert torch.equal(ours["layer.0.norm1.weight"], state["blocks.0.norm1.weight"])
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["dtype"] == "float32"


def test_import_checkpoint__what_is_left_over_has_no_say_in_the_dtype(tmp_path: Path, state: State):
    half = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
    half["rope_embed.periods"] = state["rope_embed.periods"]
    import_checkpoint(write(tmp_path / "w.pth", half), tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["dtype"] == "bfloat16"


def test_import_checkpoint__many_shards(tmp_path: Path, source: Path):
    from transformers import AutoModel

    one = import_checkpoint(source, tmp_path / "one")
    many = import_checkpoint(source, tmp_path / "many", shard_bytes=100_000)
    names = sorted(path.name for path in (tmp_path / "many").glob("*.safetensors"))
    assert len(names) > 3
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    index = json.loads((tmp_path / "many" / INDEX).read_text())
    assert set(index["weight_map"].values()) == set(names)
    assert index["metadata"]["total_size"] == 4 * many.checkpoint.parameters
    assert many.checkpoint.parameters == one.checkpoint.parameters
    tensors: State = {}
    for name in names:
        shard = load_file(tmp_path / "many" / name)
        assert sum(t.numel() * 4 for t in shard.values()) <= 100_000 or len(shard) == 1
        tensors |= shard
    expected = load_file(tmp_path / "one" / WEIGHTS)
    assert all(torch.equal(tensors.pop(name), tensor) for name, tensor in expected.items())
    assert not tensors
    _, report = AutoModel.from_pretrained(tmp_path / "many", output_loading_info=True)
    assert not any(report.values()), report


def test_import_checkpoint__same_file_same_bytes(tmp_path: Path, source: Path):
    one, two = (import_checkpoint(source, tmp_path / name) for name in ("one", "two"))
    assert one.checkpoint.files == two.checkpoint.files
    assert one.checkpoint.revision == two.checkpoint.revision


def test_import_checkpoint__file_is_as_transformers_would_write_it(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "out")
    with safe_open(tmp_path / "out" / WEIGHTS, framework="pt") as tensors:
        assert tensors.metadata() == {"format": "pt"}


def test_import_checkpoint__says_what_it_did(tmp_path: Path, source: Path):
    done = import_checkpoint(source, tmp_path / "out")
    assert done.format == "Meta's DINOv3"
    assert done.read_bytes == source.stat().st_size
    assert done.written_bytes == (tmp_path / "out" / WEIGHTS).stat().st_size
    assert done.seconds > 0
    origin = json.loads((tmp_path / "out" / CONFIG).read_text())["imported_from"]
    assert origin == {"file": "weights.pth", "sha256": done.source_sha256, "format": done.format}


def test_import_checkpoint__a_file_that_changes_later_is_found(tmp_path: Path, source: Path):
    done = import_checkpoint(source, tmp_path / "out")
    assert check_checkpoint(tmp_path / "out").imported_from == (
        f"Meta's DINOv3, weights.pth, sha256 {done.source_sha256}"
    )
    weights = tmp_path / "out" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ChecksumError, match="no longer what came from the import"):
        check_checkpoint(tmp_path / "out")


# --- papers and statistics ------------------------------------------------------------------


def test_import_checkpoint__licence_travels(tmp_path: Path, source: Path):
    card = "---\nlicense: other\nlicense_name: dinov3-license\n---\n"
    (source.parent / "README.md").write_text(card)
    for name in ("LICENSE.md", "LICENCE", "NOTICE.txt", "notes.md", "licenses.json"):
        (source.parent / name).write_text(name)
    done = import_checkpoint(source, tmp_path / "out")
    assert done.kept == ("LICENCE", "LICENSE.md", "NOTICE.txt", "README.md")
    assert done.checkpoint.licence == "dinov3-license"
    assert (tmp_path / "out" / "README.md").read_text() == card
    assert not (tmp_path / "out" / "notes.md").exists()


SAT = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))


def test_import_checkpoint__statistics_by_name(tmp_path: Path, state: State):
    source = write(tmp_path / "dinov3_vitl16_pretrain_sat493m.pth", state)
    done = import_checkpoint(source, tmp_path / "out")
    assert (done.checkpoint.mean, done.checkpoint.std) == SAT
    said = json.loads((tmp_path / "out" / PREPROCESSOR).read_text())["statistics_from"]
    assert said == done.statistics_from == "sat493m, by the name of the file"


def test_import_checkpoint__statistics_as_asked(tmp_path: Path, source: Path):
    done = import_checkpoint(source, tmp_path / "out", statistics="sat493m")
    assert (done.checkpoint.mean, done.checkpoint.std) == SAT
    assert done.statistics_from == "sat493m, as asked"


def test_import_checkpoint__statistics_of_imagenet(tmp_path: Path, source: Path):
    done = import_checkpoint(source, tmp_path / "out")
    assert done.checkpoint.mean == (0.485, 0.456, 0.406)
    assert done.checkpoint.std == (0.229, 0.224, 0.225)
    assert done.statistics_from == "ImageNet (the checkpoint names none)"


# --- refusals -------------------------------------------------------------------------------


class Runs:
    """Unpickling it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("is_zip", [True, False])
def test_import_checkpoint__code_in_a_pickle(tmp_path: Path, state: State, is_zip: bool):
    target = tmp_path / "ran"
    torch.save(
        state | {"x": Runs(target)}, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip
    )
    with pytest.raises(
        InvalidCheckpointError, match=r"'w.pth' holds code \('posix.mkdir'\).*state"
    ):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda state: {"model": state, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        (lambda state: torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_import_checkpoint__objects_in_a_pickle(
    tmp_path: Path, state: State, make: Callable[[State], Any], what: str
):
    torch.save(make(state), tmp_path / "w.pth")
    with pytest.raises(InvalidCheckpointError, match=rf"holds code \('{what}'\), which loading"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__bare_pickle_with_code(tmp_path: Path):
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Runs(tmp_path / "ran"), protocol=2))
    with pytest.raises(InvalidCheckpointError, match=r"'w\.pt' "):
        import_checkpoint(tmp_path / "w.pt", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.999])
def test_import_checkpoint__truncated(tmp_path: Path, state: State, suffix: str, kept: float):
    path = write(tmp_path / f"w.{suffix}", state)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InvalidCheckpointError, match=r"Fetch or copy it again|fetch or copy it"):
        import_checkpoint(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_import_checkpoint__flipped_bit_in_a_pickle(source: Path, tmp_path: Path):
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1  # in the middle of a weight: torch itself would not notice
    source.write_bytes(bytes(data))
    with pytest.raises(InvalidCheckpointError, match="does not have its checksum"):
        import_checkpoint(source, tmp_path / "out")


def test_import_checkpoint__compressed_archive(source: Path, tmp_path: Path):
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(InvalidCheckpointError, match="or is compressed"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__wrong_hash_in_the_name(tmp_path: Path, state: State):
    wrong = write(tmp_path / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth", state)
    with pytest.raises(InvalidCheckpointError, match=r"sha256 that begins with 08c60483, and has"):
        import_checkpoint(wrong, tmp_path / "out")
    import hashlib

    right = hashlib.sha256(wrong.read_bytes()).hexdigest()[:8]
    renamed = wrong.rename(tmp_path / f"dinov3_vits16_pretrain_lvd1689m-{right}.pth")
    assert import_checkpoint(renamed, tmp_path / "out").source_sha256.startswith(right)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([torch.ones(1)], "holds a list, not named tensors"),
        ({}, "holds a dict, not named tensors"),
        (torch.ones(3), "holds a Tensor, not named tensors"),
        ({"epoch": 3}, "'epoch' is a int; named tensors are expected"),
        ({3: torch.ones(1)}, "3 is a Tensor; named tensors"),
        ({"model": {"a": {"b": torch.ones(1)}}}, "'a' is a dict; named tensors"),
    ],
)
def test_import_checkpoint__no_tensors(tmp_path: Path, tree: Any, message: str):
    torch.save(tree, tmp_path / "w.pth")
    with pytest.raises(InvalidCheckpointError, match=message):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")


def test_import_checkpoint__no_file(tmp_path: Path):
    with pytest.raises(CheckpointNotFoundError, match=r"no file 'w\.pth'. Name the file"):
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    os.mkfifo(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointNotFoundError, match=r"no file 'w\.safetensors'. Name the file"):
        import_checkpoint(tmp_path / "w.safetensors", tmp_path / "out")


def test_import_checkpoint__unknown_suffix(tmp_path: Path):
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(InvalidCheckpointError, match=r"is a '.onnx' file; .safetensors or .pth"):
        import_checkpoint(tmp_path / "w.onnx", tmp_path / "out")


def test_import_checkpoint__quantised(tmp_path: Path, state: State):
    worse = state | {"norm.weight": torch.ones(64, dtype=torch.int8)}
    for suffix in ("pth", "safetensors"):
        with pytest.raises(InvalidCheckpointError, match=r"'norm.weight' is .*, bfloat16 can be"):
            import_checkpoint(write(tmp_path / f"w.{suffix}", worse), tmp_path / "out")


def test_import_checkpoint__blocks_numbered_twice(tmp_path: Path, state: State):
    twice = state | {"blocks.0.1.norm1.bias": torch.ones(64)}
    with pytest.raises(InvalidCheckpointError, match="blocks that are numbered twice"):
        import_checkpoint(write(tmp_path / "w.pth", twice), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("blocks.1.attn.qkv.bias_mask", torch.ones(192), "does not mask the bias of k, and only"),
        ("blocks.1.attn.qkv.bias_mask", torch.full((192,), torch.nan), "does not mask the bias"),
        ("rope_embed.periods", torch.arange(16.0), "not the rotary periods of base 100"),
    ],
)
def test_import_checkpoint__values_that_would_change_the_outputs(
    tmp_path: Path, state: State, name: str, values: torch.Tensor, message: str
):
    with pytest.raises(InvalidCheckpointError, match=f"the values of '{name}' .*{message}"):
        import_checkpoint(write(tmp_path / "w.pth", state | {name: values}), tmp_path / "out")


def test_import_checkpoint__periods_in_bfloat16(tmp_path: Path, state: State):
    periods = state["rope_embed.periods"].to(torch.bfloat16)
    import_checkpoint(
        write(tmp_path / "w.pth", state | {"rope_embed.periods": periods}), tmp_path / "out"
    )


# --- the folder -----------------------------------------------------------------------------


def test_import_checkpoint__existing_folder_is_left_alone(tmp_path: Path, source: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="is there already and was left alone"):
        import_checkpoint(source, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"does not look like a checkpoint .*was not replaced"):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_import_checkpoint__empty_folder_is_used(tmp_path: Path, source: Path):
    (tmp_path / "out").mkdir()
    import_checkpoint(source, tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS).is_file()


def test_import_checkpoint__others_may_read_it(tmp_path: Path, source: Path):
    (tmp_path / "plain").mkdir()
    import_checkpoint(source, tmp_path / "deep" / "in" / "out")
    found = (tmp_path / "deep" / "in" / "out").stat().st_mode
    assert found == (tmp_path / "plain").stat().st_mode


def test_import_checkpoint__replaces_when_asked(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "out")
    with pytest.raises(ConfigError, match="left alone"):
        import_checkpoint(source, tmp_path / "out")
    done = import_checkpoint(source, tmp_path / "out", statistics="sat493m", replaces=True)
    assert done.checkpoint.mean == SAT[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_import_checkpoint__folder_that_is_a_link(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "real")
    (tmp_path / "out").symlink_to("real")
    for target in ("real", "in", "nothing"):
        (tmp_path / "out").unlink()
        (tmp_path / "out").symlink_to(target)
        with pytest.raises(ConfigError, match="is a link or has no name of its own"):
            import_checkpoint(source, tmp_path / "out", replaces=True)
    for name in (".", "..", "/"):
        with pytest.raises(ConfigError, match="is a link or has no name of its own"):
            import_checkpoint(source, Path(name), replaces=True)


def test_import_checkpoint__source_inside_the_folder(tmp_path: Path, source: Path):
    with pytest.raises(ConfigError, match=r"lies in .*Import into another folder"):
        import_checkpoint(source, source.parent, replaces=True)
    assert source.is_file()


def test_import_checkpoint__refusal_leaves_the_old_one(tmp_path: Path, source: Path):
    before = import_checkpoint(source, tmp_path / "out").checkpoint
    source.write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(InvalidCheckpointError):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before


class InterruptionError(BaseException):
    """Like Ctrl-C or a cancelled run: no Exception."""


@pytest.mark.parametrize("place", ["_write", "_write_shard", "read_checkpoint", "publish_folder"])
@pytest.mark.parametrize("is_there", [False, True])
def test_import_checkpoint__interrupted(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, place: str, is_there: bool
):
    before = import_checkpoint(source, tmp_path / "out").checkpoint if is_there else None

    def interrupt(*args: object, **kwargs: object) -> None:
        raise InterruptionError

    monkeypatch.setattr(imports, place, interrupt)
    with pytest.raises(InterruptionError):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == (["in", "out"] if is_there else ["in"])
    if before:
        assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before


def test_import_checkpoint__last_rename_fails(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
):
    before = import_checkpoint(source, tmp_path / "out").checkpoint
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".out.importing-") and self.name == "out":
            raise OSError("no more today")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    monkeypatch.setattr(folders, "_exchange", lambda new, folder: False)  # as on NFS
    with pytest.raises(ConfigError, match=r"cannot be imported into .*no more today"):
        import_checkpoint(source, tmp_path / "out", replaces=True)
    assert read_checkpoint(tmp_path / "out", model=str(tmp_path / "out")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


KILLED = """
import os, signal, sys
from pathlib import Path
import dino_assets.weights.importing.writing as imports

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

imports.read_checkpoint = die
imports.import_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_import_checkpoint__killed_leaves_what_the_next_one_clears_away(
    tmp_path: Path, source: Path
):
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, source, out], check=False)
    assert done.returncode == -9
    assert not out.exists()
    (left,) = tmp_path.glob(".out.importing-*")
    assert (left / "out" / WEIGHTS).is_file()
    import_checkpoint(source, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_import_checkpoint__other_import_at_work_is_not_disturbed(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
):
    """The slower of two leaves the checkpoint of the faster alone."""
    real = imports.read_checkpoint

    def let_another_in(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(imports, "read_checkpoint", real)
        import_checkpoint(source, tmp_path / "out", statistics="sat493m")
        return real(*args, **kwargs)

    monkeypatch.setattr(imports, "read_checkpoint", let_another_in)
    with pytest.raises(ConfigError, match="is there already and was left alone"):
        import_checkpoint(source, tmp_path / "out")
    found = read_checkpoint(tmp_path / "out", model="m")
    assert found.mean == SAT[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_import_checkpoint__memory_is_one_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every tensor is gone before the next is read."""
    import weakref

    path = write(tmp_path / "w.safetensors", as_timm_v3(make_model("dinov3_vit")))
    alive: list[Any] = []
    most = 0
    real = import_plans.convert

    def count(*args: Any) -> torch.Tensor:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        tensor = real(*args)
        alive.append(weakref.ref(tensor))
        return tensor

    monkeypatch.setattr(import_plans, "convert", count)
    import_checkpoint(path, tmp_path / "out")
    assert len(alive) > 20
    assert most <= 1


def test_import_checkpoint__text_of_the_error_has_no_foreign_advice(tmp_path: Path):
    torch.save({"x": Runs(tmp_path / "ran")}, sink := io.BytesIO())
    (tmp_path / "w.pth").write_bytes(sink.getvalue())
    with pytest.raises(InvalidCheckpointError) as caught:
        import_checkpoint(tmp_path / "w.pth", tmp_path / "out")
    assert "weights_only" not in str(caught.value)  # torch's text advises to turn it off
