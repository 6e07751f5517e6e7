"""ONNX Runtime: exact as a peer, int8 for whoever chooses it, and quiet."""

import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.encoder import ALL_TOKENS, build_engine, fit_batch, onnx_engine
from dino_assets.embeddings.encoder.gate import draw_gate_tiles, hold_against
from dino_assets.embeddings.encoder.onnx_engine import OnnxEncoder, import_onnxruntime, write_onnx
from dino_assets.errors import MissingExtraError
from dino_assets_tests.worlds.networks import (
    Sample,
    ask_transformers,
    assert_close,
    assert_same,
    draw_tiles,
    spec,
)

SIDE = 64


def test_encode__fp32_equals_transformers(tiny: Sample):
    tiles = draw_tiles(5, 6 * tiny.checkpoint.patch_px)
    encoder = OnnxEncoder(tiny.at(tiles.shape[1]), spec("onnxruntime", "fp32", 3))
    found = encoder.encode(tiles)
    assert_close(found, ask_transformers(tiny, tiles), atol=1e-4)
    # a tile depends on itself alone, and threads do not meet
    order = [3, 1, 4, 0, 2]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(encoder.encode, [tiles[order], tiles[order]]))
    for name in ALL_TOKENS:
        assert np.array_equal(both[0][name], found[name][order])
    assert_same(*both)


@pytest.mark.slow
@pytest.mark.parametrize("numerics", ["fp32", "int8"])
def test_build__says_nothing(one_tiny: Sample, capfd, caplog, recwarn, numerics: str):
    """The exporter's and the quantiser's notes are about what nobody here can change."""
    noisy = logging.getLogger("torch.onnx._internal.exporter._registration")
    loggers = (logging.getLogger(), noisy)
    before = [(logger.level, list(logger.filters)) for logger in loggers]
    with caplog.at_level(logging.WARNING):
        noisy.addHandler(caplog.handler)  # torch keeps its own from the root
        try:
            encoder = build_engine(one_tiny.at(SIDE, ("cls",)), spec("onnxruntime", numerics))
            encoder.encode(draw_tiles(1, SIDE))
        finally:
            noisy.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == []
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert [str(each.message) for each in recwarn] == []
    assert [(logger.level, list(logger.filters)) for logger in loggers] == before


def test_hush__takes_nothing_else_away(caplog):
    with onnx_engine._hush():
        logging.getLogger().warning("Please consider to run pre-processing before quantization. Or")
        logging.getLogger().warning("the disk is nearly full")
    logging.getLogger().warning("Please consider to run pre-processing before quantization. Or")
    assert [record.getMessage()[:10] for record in caplog.records] == ["the disk i", "Please con"]


def test_hush__leaves_no_second_voice(monkeypatch: pytest.MonkeyPatch):
    """A bare ``logging.warning`` gives the root logger a handler: then every line came twice."""
    monkeypatch.setattr(logging.root, "handlers", [])
    with onnx_engine._hush():
        logging.warning("Please consider to run pre-processing before quantization.")
        assert logging.root.handlers
    assert logging.root.handlers == []


@pytest.mark.slow
def test_int8__is_neither_float32_nor_far(one_tiny: Sample, tmp_path: Path):
    tiles = draw_tiles(3, SIDE)
    wanted = ask_transformers(one_tiny, tiles)
    exact, small = tmp_path / "exact" / "network.onnx", tmp_path / "small" / "network.onnx"
    for file, is_int8 in ((exact, False), (small, True)):
        write_onnx(one_tiny.at(SIDE), file, batch=3, is_int8=is_int8)

    def weigh(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.iterdir())

    assert weigh(small.parent) < 0.7 * weigh(exact.parent)
    found = OnnxEncoder(one_tiny.at(SIDE), spec("onnxruntime", "int8")).encode(tiles)
    assert 1e-3 < abs(found["cls"] - wanted["cls"]).max() < 0.5


@pytest.mark.slow
def test_kept__is_read_the_second_time(one_tiny: Sample, tmp_path: Path, monkeypatch):
    tiles, kept = draw_tiles(2, SIDE), tmp_path / "kept"
    source = one_tiny.at(SIDE, ("cls",))
    first = OnnxEncoder(source, spec("onnxruntime", "fp32", 2), cache_folder=kept).encode(tiles)
    write = onnx_engine.write_onnx

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(onnx_engine, "write_onnx", refuse)
    again = OnnxEncoder(source, spec("onnxruntime", "fp32", 2), cache_folder=kept).encode(tiles)
    assert_same(again, first)
    # int8 and float32 are two networks, whatever folder is named
    with pytest.raises(AssertionError, match="converted again"):
        OnnxEncoder(source, spec("onnxruntime", "int8", 2), cache_folder=kept)
    monkeypatch.setattr(onnx_engine, "write_onnx", write)
    for file in kept.glob("network.onnx*"):
        file.write_bytes(file.read_bytes()[:-9])
    mended = OnnxEncoder(source, spec("onnxruntime", "fp32", 2), cache_folder=kept).encode(tiles)
    assert_same(mended, first)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_import_onnxruntime__not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MissingExtraError, match=r"engine onnxruntime needs .* 'dino-assets\[onnx\]'"
    ):
        import_onnxruntime()


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_write_onnx__not_installed(one_tiny: Sample, tmp_path, monkeypatch, package: str):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtraError, match=r"writing an ONNX file needs .* 'dino-assets\[onnx\]'"
    ):
        write_onnx(one_tiny.at(SIDE), tmp_path / "network.onnx", batch=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("family", ["dinov2", "dinov3_vit"])
def test_int8__gate_at_real_size(sample_of: Callable[..., Sample], family: str):
    """Gated on tiles that nothing was calibrated on; at 224 px of the fresh ViT-S it is a close thing."""
    side = 224 if family == "dinov3_vit" else 518
    sample = sample_of(family, dim=384, layers=12, heads=6, native_px=side, is_lively=False)
    tiles = draw_gate_tiles(side)
    batch = fit_batch(sample.checkpoint, side)
    wanted = build_engine(sample.at(side), spec("torch", "fp32", batch)).encode(tiles)
    found = build_engine(sample.at(side), spec("onnxruntime", "int8", batch)).encode(tiles)
    report = hold_against(wanted, found, "int8")
    assert report.passed, report
    assert not hold_against(wanted, found, "fp32").passed
