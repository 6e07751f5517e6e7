"""Catalogue of published checkpoints: names, and sizes compared with transformers' models."""

import pytest

from dino_assets.weights.catalogue import DEFAULT_TEACHER, PUBLISHED, full_name, short_names
from dino_assets_tests.worlds.published import build_model

# ../shared/FACTS.md, by hand.
V2 = {
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "giant": (1536, 40, 24),
}
V3 = {
    "vits16": (384, 12, 6), "vits16plus": (384, 12, 6), "vitb16": (768, 12, 12),
    "vitl16": (1024, 24, 16), "vith16plus": (1280, 32, 20), "vit7b16": (4096, 40, 32),
}  # fmt: skip
EXPECTED = {
    **{f"facebook/dinov2-{size}": ("dinov2", *n) for size, n in V2.items()},
    **{
        f"facebook/dinov2-with-registers-{size}": ("dinov2_with_registers", *n)
        for size, n in V2.items()
    },
    **{f"facebook/dinov3-{s}-pretrain-lvd1689m": ("dinov3_vit", *n) for s, n in V3.items()},
    **{
        f"facebook/dinov3-{size}-pretrain-sat493m": ("dinov3_vit", *V3[size])
        for size in ("vitl16", "vit7b16")
    },
}


def test_published__lists_every_repository():
    sizes = {name: (p.family, p.dim, p.layers, p.heads) for name, p in PUBLISHED.items()}
    assert sizes == EXPECTED
    assert DEFAULT_TEACHER == "facebook/dinov3-vitl16-pretrain-lvd1689m"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published__parameters_equal_transformers_models(name: str):
    model = build_model(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[name].parameters
    assert model.config.model_type == PUBLISHED[name].family


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("dinov2-base", "facebook/dinov2-base"),
        ("dinov2-with-registers-giant", "facebook/dinov2-with-registers-giant"),
        ("dinov3-vitl16", "facebook/dinov3-vitl16-pretrain-lvd1689m"),
        ("dinov3-vitl16-lvd1689m", "facebook/dinov3-vitl16-pretrain-lvd1689m"),
        ("dinov3-vitl16-pretrain", "facebook/dinov3-vitl16-pretrain-lvd1689m"),
        ("dinov3-vitl16-sat493m", "facebook/dinov3-vitl16-pretrain-sat493m"),
        ("dinov3-vitl16-pretrain-sat493m", "facebook/dinov3-vitl16-pretrain-sat493m"),
        ("facebook/dinov3-vitl16", "facebook/dinov3-vitl16-pretrain-lvd1689m"),
        ("dinov3-vits16plus", "facebook/dinov3-vits16plus-pretrain-lvd1689m"),
        ("dinov3-vith16", "facebook/dinov3-vith16plus-pretrain-lvd1689m"),
        (
            "facebook/dinov3-vith16-pretrain-lvd1689m",
            "facebook/dinov3-vith16plus-pretrain-lvd1689m",
        ),
        ("dinov3-vit7b", "facebook/dinov3-vit7b16-pretrain-lvd1689m"),
        ("dinov3-vit7b-sat493m", "facebook/dinov3-vit7b16-pretrain-sat493m"),
    ],
)
def test_full_name__short_and_other_spellings(short: str, whole: str):
    assert full_name(short) == whole
    assert full_name(whole) == whole


@pytest.mark.parametrize(
    "name",
    [
        "", "org/model", "models/demo", "./dinov2-base", "/dinov2-base", "someone/dinov2-base",
        "someone/dinov3-vitl16", "dinov2-tiny", "dinov3-vitb16-sat493m", "dinov3-vitl16-other",
        "dinov3-convnext-base", "DINOv2-base", "facebook/dinov2-base/", "facebook/facebook/dinov2-base",
    ],
)  # fmt: skip
def test_full_name__returns_other_names_unchanged(name: str):
    assert full_name(name) == name


def test_short_names__resolve_to_their_repositories():
    assert [full_name(short) for short in short_names()] == list(PUBLISHED)
    assert {"dinov2-base", "dinov3-vitl16", "dinov3-vitl16-sat493m"} <= set(short_names())
