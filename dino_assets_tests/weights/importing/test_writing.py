"""Import of timm's and Meta's files: outputs equal the original's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.embeddings.encoder.engine import EngineSpec, NetworkSource
from dino_assets.errors import (
    ChecksumError,
)
from dino_assets.weights.architecture import CONFIG
from dino_assets.weights.checkpoint import INDEX, PREPROCESSOR, WEIGHTS, read_checkpoint
from dino_assets.weights.fetching import check_checkpoint
from dino_assets.weights.importing.writing import import_checkpoint
from dino_assets_tests.worlds.original_files import SAT, hash_file, list_papers, write
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


@pytest.mark.parametrize("name", CASES)
def test_import_checkpoint__outputs_equal_the_original(name: str, tmp_path: Path):
    from transformers import AutoModel

    upstream, family, options = CASES[name]
    model = make_model(family, **options)
    original = upstream(model)
    suffix = "safetensors" if name.startswith("timm") else "pth"
    imported = import_checkpoint(write(tmp_path / f"w.{suffix}", original), tmp_path / "out")

    network = AutoModel.from_pretrained(tmp_path / "out").eval()
    heads = model.config.num_attention_heads
    sides = [(64, 64), (48, 80)] if family == "dinov3_vit" else [(options.get("grid", 4) * 14,) * 2]
    run = run_v3 if family == "dinov3_vit" else run_v2
    for height, width in sides:
        pixels = torch.randn((2, 3, height, width), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = run(original, pixels, heads=heads)
            outputs = network(pixels).last_hidden_state
        assert expected.std() > 0.1
        torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=0)

    checkpoint = imported.checkpoint
    assert checkpoint == read_checkpoint(tmp_path / "out", model=str(tmp_path / "out"))
    assert (checkpoint.family, checkpoint.dim, checkpoint.layers, checkpoint.heads) == (
        family, model.config.hidden_size, model.config.num_hidden_layers, heads,
    )  # fmt: skip
    assert checkpoint.registers == getattr(model.config, "num_register_tokens", 0)
    assert checkpoint.parameters == sum(p.numel() for p in model.parameters())
    if name.startswith("timm"):  # without it: zeros change no output
        tensors = load_file(tmp_path / "out" / WEIGHTS)
        assert not tensors["embeddings.mask_token"].any()


@pytest.mark.parametrize("name", CASES)
def test_import_checkpoint__loads_without_missing_or_unused_tensors(name: str, tmp_path: Path):
    from transformers import AutoModel

    upstream, family, options = CASES[name]
    model = make_model(family, **options)
    imported = import_checkpoint(write(tmp_path / "w.pth", upstream(model)), tmp_path / "out")
    _, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values()), report
    side = options.get("grid", 4) * imported.checkpoint.patch_px
    source = NetworkSource(tmp_path / "out", imported.checkpoint, side)
    encoder = build_engine(source, EngineSpec("torch", "cpu", "fp32", 1))
    assert (
        encoder.encode(np.zeros((1, side, side, 3), np.uint8)).cls.shape[1]
        == imported.checkpoint.dim
    )

    # transformers' own files have equal names and values.
    model.save_pretrained(tmp_path / "theirs")
    original_tensors, converted_tensors = (
        load_file(tmp_path / place / WEIGHTS) for place in ("theirs", "out")
    )
    assert {name: t.shape for name, t in converted_tensors.items()} == {
        n: t.shape for n, t in original_tensors.items()
    }
    if not name.startswith("timm"):
        assert all(
            torch.equal(converted_tensors[name], original_tensors[name])
            for name in converted_tensors
        )
    expected_config, config = (
        json.loads((tmp_path / place / CONFIG).read_text()) for place in ("theirs", "out")
    )
    keys = ["hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "model_type"]
    keys += ["mlp_ratio", "use_swiglu_ffn", "intermediate_size", "use_gated_mlp", "hidden_act"]
    keys += ["num_register_tokens", "layer_norm_eps", "rope_theta", "architectures", "dtype"]
    keys += ["query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias", "qkv_bias"]
    keys += ["image_size", "num_channels", "use_mask_token"]
    assert {key: config.get(key) for key in keys} == {key: expected_config.get(key) for key in keys}


def test_import_checkpoint__position_grid_sets_the_image_size(tmp_path: Path):
    model = make_model("dinov2", grid=16, layers=1)  # 224 px, as timm resizes it
    import_checkpoint(write(tmp_path / "w.safetensors", as_timm_v2(model)), tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["image_size"] == 224


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
    plain_import = import_checkpoint(source, tmp_path / "plain")
    wrapped_import = import_checkpoint(write(tmp_path / "w.pth", wrap(state)), tmp_path / "other")
    assert wrapped_import.checkpoint.weights_sha256 == plain_import.checkpoint.weights_sha256


def test_import_checkpoint__blocks_in_chunks(tmp_path: Path, state: State, source: Path):
    """FSDP's names: the number of the group, then that of the block."""
    chunked = {name.replace("blocks.", "blocks.0."): tensor for name, tensor in state.items()}
    plain_import = import_checkpoint(source, tmp_path / "plain")
    chunked_import = import_checkpoint(write(tmp_path / "w.pth", chunked), tmp_path / "other")
    assert chunked_import.checkpoint.weights_sha256 == plain_import.checkpoint.weights_sha256


def test_import_checkpoint__old_pickles(tmp_path: Path, state: State, source: Path):
    torch.save(state, tmp_path / "w.PT", _use_new_zipfile_serialization=False)
    pickled_import = import_checkpoint(tmp_path / "w.PT", tmp_path / "other")
    plain_import = import_checkpoint(source, tmp_path / "plain")
    assert pickled_import.checkpoint.weights_sha256 == plain_import.checkpoint.weights_sha256


def test_import_checkpoint__leftovers_have_reasons(tmp_path: Path, state: State):
    extra_tensors = {"local_cls_norm.weight": torch.ones(64), "local_cls_norm.bias": torch.ones(64)}
    wrapped = {"teacher": prefixed(state | extra_tensors, "backbone.") | HEADS}
    imported = import_checkpoint(write(tmp_path / "w.pth", wrapped), tmp_path / "out")
    assert set(imported.leftovers) == {
        "rope_embed.periods", *extra_tensors, *HEADS,
        *(f"blocks.{i}.attn.qkv.{suffix}" for i in (0, 1) for suffix in ("bias", "bias_mask")),
    }  # fmt: skip
    assert "bias_mask sets to zero" in imported.leftovers["blocks.0.attn.qkv.bias"]
    assert "small crops of training" in imported.leftovers["local_cls_norm.bias"]
    assert "pre-training head" in imported.leftovers["dino_head.last_layer.weight"]
    assert "computes the rotary periods itself" in imported.leftovers["rope_embed.periods"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_import_checkpoint__keeps_half_precision(
    tmp_path: Path, state: State, dtype: torch.dtype, suffix: str
):
    half_tensors = {name: tensor.to(dtype) for name, tensor in state.items()}
    import_checkpoint(write(tmp_path / f"w.{suffix}", half_tensors), tmp_path / "out")
    imported_tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert {tensor.dtype for tensor in imported_tensors.values()} == {dtype}
    assert torch.equal(imported_tensors["norm.weight"], half_tensors["norm.weight"])
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["dtype"] == str(dtype)[6:]


def test_import_checkpoint__mixed_precision_has_the_wider_dtype(tmp_path: Path, state: State):
    mixed_tensors = state | {"blocks.0.norm1.bias": state["blocks.0.norm1.bias"].to(torch.bfloat16)}
    import_checkpoint(write(tmp_path / "w.pth", mixed_tensors), tmp_path / "out")
    imported_tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert imported_tensors["layer.0.norm1.bias"].dtype == torch.bfloat16
    assert torch.equal(imported_tensors["layer.0.norm1.weight"], state["blocks.0.norm1.weight"])
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["dtype"] == "float32"


def test_import_checkpoint__unused_tensors_do_not_set_the_dtype(tmp_path: Path, state: State):
    half_tensors = {name: tensor.to(torch.bfloat16) for name, tensor in state.items()}
    half_tensors["rope_embed.periods"] = state["rope_embed.periods"]
    import_checkpoint(write(tmp_path / "w.pth", half_tensors), tmp_path / "out")
    assert json.loads((tmp_path / "out" / CONFIG).read_text())["dtype"] == "bfloat16"


def test_import_checkpoint__many_shards(tmp_path: Path, source: Path):
    from transformers import AutoModel

    single_import = import_checkpoint(source, tmp_path / "one")
    sharded_import = import_checkpoint(source, tmp_path / "many", shard_bytes=100_000)
    names = sorted(path.name for path in (tmp_path / "many").glob("*.safetensors"))
    assert len(names) > 3
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    index = json.loads((tmp_path / "many" / INDEX).read_text())
    assert set(index["weight_map"].values()) == set(names)
    assert index["metadata"]["total_size"] == 4 * sharded_import.checkpoint.parameters
    assert sharded_import.checkpoint.parameters == single_import.checkpoint.parameters
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


def test_import_checkpoint__equal_sources_give_equal_bytes(tmp_path: Path, source: Path):
    first_import, second_import = (
        import_checkpoint(source, tmp_path / name) for name in ("one", "two")
    )
    assert first_import.checkpoint.files == second_import.checkpoint.files
    assert first_import.checkpoint.revision == second_import.checkpoint.revision


def test_import_checkpoint__file_is_as_transformers_would_write_it(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "out")
    with safe_open(tmp_path / "out" / WEIGHTS, framework="pt") as tensors:
        assert tensors.metadata() == {"format": "pt"}


def test_import_checkpoint__result_describes_the_import(tmp_path: Path, source: Path):
    imported = import_checkpoint(source, tmp_path / "out")
    assert imported.format == "Meta's DINOv3"
    assert imported.seconds > 0
    origin = json.loads((tmp_path / "out" / CONFIG).read_text())["imported_from"]
    assert origin == {"file": "weights.pth", "sha256": hash_file(source), "format": imported.format}


def test_import_checkpoint__detects_a_later_change(tmp_path: Path, source: Path):
    import_checkpoint(source, tmp_path / "out")
    assert check_checkpoint(tmp_path / "out").imported_from == (
        f"Meta's DINOv3, weights.pth, sha256 {hash_file(source)}"
    )
    weights = tmp_path / "out" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ChecksumError, match="has changed since it came from the import"):
        check_checkpoint(tmp_path / "out")


def test_import_checkpoint__copies_the_licence(tmp_path: Path, source: Path):
    card = "---\nlicense: other\nlicense_name: dinov3-license\n---\n"
    (source.parent / "README.md").write_text(card)
    for name in ("LICENSE.md", "LICENCE", "NOTICE.txt", "notes.md", "licenses.json"):
        (source.parent / name).write_text(name)
    imported = import_checkpoint(source, tmp_path / "out")
    papers = ["LICENCE", "LICENSE.md", "NOTICE.txt", "README.md"]
    assert list_papers(tmp_path / "out") == papers
    assert imported.checkpoint.licence == "dinov3-license"
    assert (tmp_path / "out" / "README.md").read_text() == card
    assert not (tmp_path / "out" / "notes.md").exists()


def test_import_checkpoint__statistics_by_name(tmp_path: Path, state: State):
    source = write(tmp_path / "dinov3_vitl16_pretrain_sat493m.pth", state)
    imported = import_checkpoint(source, tmp_path / "out")
    assert (imported.checkpoint.mean, imported.checkpoint.std) == SAT
    origin = json.loads((tmp_path / "out" / PREPROCESSOR).read_text())["statistics_from"]
    assert origin == imported.checkpoint.statistics_from == "sat493m, by the name of the file"


def test_import_checkpoint__statistics_as_asked(tmp_path: Path, source: Path):
    imported = import_checkpoint(source, tmp_path / "out", statistics="sat493m")
    assert (imported.checkpoint.mean, imported.checkpoint.std) == SAT
    assert imported.checkpoint.statistics_from == "sat493m, as asked"


def test_import_checkpoint__statistics_of_imagenet(tmp_path: Path, source: Path):
    imported = import_checkpoint(source, tmp_path / "out")
    assert imported.checkpoint.mean == (0.485, 0.456, 0.406)
    assert imported.checkpoint.std == (0.229, 0.224, 0.225)
    assert imported.checkpoint.statistics_from == "ImageNet (the checkpoint names none)"
