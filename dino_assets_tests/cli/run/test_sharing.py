"""One command, several drops: one run each, and one encoder for all."""

import gc
import weakref
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets.embeddings.encoder.engine import Encoder
from dino_assets.embeddings.encoder.openvino_engine import OpenVinoEncoder
from dino_assets.embeddings.encoder.ready import forget_encoders
from dino_assets_tests.conftest import photo_bytes


def test_run__drops_share_an_encoder_which_is_closed(
    project: Path, ready_engines: None, monkeypatch: pytest.MonkeyPatch, capsys
):
    encoders: list[weakref.ref[Encoder]] = []
    init = OpenVinoEncoder.__init__

    def build(encoder: OpenVinoEncoder, source, spec, **options) -> None:
        if source.outputs == ("cls",):  # without the encoders of the numerics check
            encoders.append(weakref.ref(encoder))
        init(encoder, source, spec, **options)

    monkeypatch.setattr(OpenVinoEncoder, "__init__", build)
    forget_encoders()
    for seed, name in enumerate(("north", "south")):
        (project / "inbox" / name).mkdir(parents=True)
        (project / "inbox" / name / "a.jpg").write_bytes(photo_bytes(600, 560, seed=seed))
    assert main(["run", "north", "south", "--select", "ingest"]) == 0, capsys.readouterr().err
    assert len(encoders) == 1
    gc.collect()
    assert encoders[0]() is None
