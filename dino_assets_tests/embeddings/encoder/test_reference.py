"""Every engine's float32 against transformers' own classes, on the same pixels."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dino_assets.embeddings.encoder.openvino_engine import OpenVinoEncoder
from dino_assets.embeddings.encoder.tokens import ALL_TOKENS, TokenName, Tokens
from dino_assets.embeddings.encoder.torch_engine import TorchEncoder
from dino_assets.errors import InvalidCheckpointError
from dino_assets.weights.checkpoint import read_checkpoint
from dino_assets_tests.worlds.networks import (
    FAMILIES,
    Sample,
    assert_close,
    compute_expected,
    draw_tiles,
    spec,
)

SampleOf = Callable[..., Sample]
CLS: tuple[TokenName, ...] = ("cls",)


def ask(
    engine: str, sample: Sample, tiles: np.ndarray, outputs: tuple[TokenName, ...], batch: int
) -> Tokens:
    kind = {"torch": TorchEncoder, "openvino": OpenVinoEncoder}[engine]
    source = sample.at(tiles.shape[1], outputs)
    return kind(source, spec(engine, "fp32", batch)).encode(tiles)


# The side that the positions were made for is five patches: others are interpolated.
@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("patches", [4, 5, 7, 13])
def test_encode__equals_transformers(tiny: Sample, engine: str, patches: int):
    tiles = draw_tiles(5, patches * tiny.checkpoint.patch_px)  # the last batch is partial
    expected = compute_expected(tiny, tiles)
    assert expected["patches"].shape == (5, patches**2, tiny.checkpoint.dim)
    tokens = ask(engine, tiny, tiles, ALL_TOKENS, 3)
    assert all(getattr(tokens, name) is not None for name in ALL_TOKENS)
    assert_close(tokens, expected)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("batch", [1, 4])
def test_encode__cls_alone_equals_transformers(tiny: Sample, engine: str, batch: int):
    """The last block computes one token only; batch 1 and one that holds more than there is."""
    tiles = draw_tiles(3, 7 * tiny.checkpoint.patch_px)
    tokens = ask(engine, tiny, tiles, CLS, batch)
    assert tokens.mean is tokens.registers is tokens.patches is None
    assert_close(tokens, compute_expected(tiny, tiles))


@pytest.mark.parametrize(
    "outputs", [("mean",), ("mean", "cls"), ("patches",), ("registers", "cls")]
)
def test_encode__returns_the_requested_outputs(tiny: Sample, outputs):
    tiles = draw_tiles(2, 4 * tiny.checkpoint.patch_px)
    tokens = ask("torch", tiny, tiles, outputs, 2)
    assert {name for name in ALL_TOKENS if getattr(tokens, name) is not None} == set(outputs)
    assert_close(tokens, compute_expected(tiny, tiles))


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("outputs", [ALL_TOKENS, CLS])
@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("dinov2", {"use_swiglu_ffn": True}),
        ("dinov2_with_registers", {"use_swiglu_ffn": True}),
        ("dinov2", {"qkv_bias": False}),
        ("dinov3_vit", {"use_gated_mlp": True, "hidden_act": "silu"}),
        ("dinov3_vit", {"query_bias": False, "value_bias": False, "key_bias": True}),
        ("dinov3_vit", {"mlp_bias": False, "proj_bias": False}),
        ("dinov2_with_registers", {"num_register_tokens": 1}),
    ],
)
def test_encode__other_architectures_equal_transformers(
    sample_of: SampleOf, family: str, config: dict[str, bool], outputs, engine: str
):
    sample = sample_of(family, **config)
    tiles = draw_tiles(2, 4 * sample.checkpoint.patch_px)
    tokens = ask(engine, sample, tiles, outputs, 2)
    assert_close(tokens, compute_expected(sample, tiles))


@pytest.mark.parametrize("place", [0, 3, 5, 19])
def test_encode__patches_come_row_by_row(sample_of: SampleOf, place: int):
    """Without blocks that mix, a bright patch changes its own token alone."""
    sample = sample_of("dinov2", layers=1)
    patch, per_row = 14, 5
    tiles = np.full((2, 70, 70, 3), 90, np.uint8)
    row, column = divmod(place, per_row)
    tiles[1, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = 250
    encoder = TorchEncoder(sample.at(70), spec("torch", "fp32", 2))
    for tensor in encoder.network.get_submodule("layers.0.attention.o_proj").parameters():
        tensor.zero_()
    dark, bright = encoder.encode(tiles)["patches"]
    assert np.flatnonzero((dark != bright).any(axis=-1)).tolist() == [place]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "side", "layers", "count", "batch", "is_lively"),
    [
        ("dinov2", 518, 2, 2, 1, True),  # its own side
        ("dinov2", 224, 2, 5, 4, True),
        ("dinov2", 98, 12, 5, 3, True),
        ("dinov2_with_registers", 518, 2, 2, 1, True),
        ("dinov2_with_registers", 392, 2, 3, 2, True),
        ("dinov2_with_registers", 56, 12, 2, 2, False),
        ("dinov3_vit", 224, 2, 5, 4, True),  # its own side
        ("dinov3_vit", 512, 2, 2, 1, True),
        ("dinov3_vit", 112, 12, 5, 3, True),
        ("dinov2", 224, 2, 2, 2, False),
        ("dinov3_vit", 224, 2, 2, 2, False),
    ],
)
def test_encode__real_size_equals_transformers(
    sample_of: SampleOf, family: str, side: int, layers: int, count: int, batch: int, is_lively
):
    """ViT-S: its depth on small tiles, two of its blocks on large ones; with and without biases of nought."""
    native = 224 if family == "dinov3_vit" else 518
    sizes = {"dim": 384, "layers": layers, "heads": 6, "native_px": native}
    sample = sample_of(family, **sizes, is_lively=is_lively)
    tiles = draw_tiles(count, side)
    expected = compute_expected(sample, tiles)
    for engine in ("torch", "openvino"):
        assert_close(ask(engine, sample, tiles, ALL_TOKENS, batch), expected)
        assert_close(ask(engine, sample, tiles, CLS, batch), expected)


def test_families__cover_all_families_of_the_records():
    from typing import get_args

    from dino_assets.weights.records import Family

    assert set(FAMILIES) == set(get_args(Family))


def test_load_network__refuses_missing_tensors(one_tiny: Sample, tmp_path):
    """A layer that is half there would be filled with random numbers, silently."""
    import shutil

    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(one_tiny.folder, tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    weights.pop("layer.1.mlp.up_proj.bias")  # whether there is one, transformers alone knows
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    incomplete_sample = Sample(folder, read_checkpoint(folder, model="tiny"))
    with pytest.raises(
        InvalidCheckpointError, match=r"1 tensors .*up_proj.bias.* copy the checkpoint"
    ):
        TorchEncoder(incomplete_sample.at(64), spec("torch", "fp32"))


def test_encode__computes_in_float32_for_any_dtype_of_the_files(one_tiny: Sample, tmp_path):
    from transformers import AutoModel

    AutoModel.from_pretrained(one_tiny.folder).to(torch.bfloat16).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes(
        (one_tiny.folder / "preprocessor_config.json").read_bytes()
    )
    half_sample = replace(
        one_tiny, folder=tmp_path, checkpoint=read_checkpoint(tmp_path, model="half")
    )
    tiles = draw_tiles(2, 64)
    assert_close(
        ask("torch", half_sample, tiles, ALL_TOKENS, 2), compute_expected(half_sample, tiles)
    )
    assert_close(ask("openvino", half_sample, tiles, CLS, 2), compute_expected(half_sample, tiles))
