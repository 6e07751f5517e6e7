"""Files of a probe: safetensors that any program reads, and npz with the split."""

import io
import json

import numpy as np
import pytest
from safetensors.numpy import load

from dino_assets.errors import InvalidModelFileError
from dino_assets.probes.files import dump_probe, dump_probe_data, load_probe, load_probe_data
from dino_assets.probes.logistic import train_logistic
from dino_assets.probes.probe_settings import ProbeSettings
from dino_assets.probes.records import TrainingSet
from dino_assets.probes.validation import cross_validate, plan_folds
from dino_assets_tests.probes.grounds import place_tiles
from dino_assets_tests.probes.test_training import draw_set

FACTS = {"space": "0123", "column": "cls", "model": "tiny ü"}


def test_dump_probe__equal_bytes_and_the_same_predictions():
    labelled = draw_set()
    probe = train_logistic(labelled, strength=10.0)
    data = dump_probe(probe, FACTS)
    assert all(dump_probe(probe, FACTS) == data for _ in range(8))
    loaded, metadata = load_probe(data)
    assert metadata["space"] == "0123"
    assert loaded.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(loaded.predict(labelled.vectors), probe.predict(labelled.vectors))


def test_dump_probe__loads_without_this_package():
    labelled = draw_set()
    probe = train_logistic(labelled, strength=10.0)
    data = dump_probe(probe, FACTS)
    tensors = load(data)  # the library's own reader
    size = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    assert json.loads(metadata["classes"]) == ["a", "b", "c"]
    v = labelled.vectors / np.linalg.norm(labelled.vectors, axis=1, keepdims=True)
    scores = (v - tensors["center"]) / tensors["scale"] @ tensors["weights"].T + tensors["bias"]
    likely = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(likely, probe.predict(labelled.vectors), atol=1e-5)


@pytest.mark.parametrize("data", [b"", b"no tensors", dump_probe(train_logistic(draw_set(), strength=1.0), {})[:200]])  # fmt: skip
def test_load_probe__refuses_other_bytes(data):
    with pytest.raises(InvalidModelFileError):
        load_probe(data)


def test_dump_probe_data__has_vectors_labels_ids_and_split():
    vectors = draw_set()
    labelled = TrainingSet(vectors.vectors, vectors.classes, ("a", "ü", "火"))
    tiles = place_tiles(np.random.default_rng(0).uniform(0, 900, (90, 2)))
    plan = plan_folds(labelled, tiles, ProbeSettings())
    likely = cross_validate(labelled, plan, ProbeSettings(kind="linear"))
    ids = tuple(f"t{n}" for n in range(90))
    data = dump_probe_data(ids, labelled, tiles, plan, likely)
    assert dump_probe_data(ids, labelled, tiles, plan, likely) == data
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["vectors"], labelled.vectors)
        assert file["classes"][file["labels"]].tolist() == [labelled.class_names[c] for c in labelled.classes]  # fmt: skip
        assert file["tile_ids"].tolist() == list(ids)
        np.testing.assert_array_equal(file["split"], plan.folds)
    stored = load_probe_data(data)
    np.testing.assert_array_equal(stored.are_trained_on, plan.are_trained_on)
    np.testing.assert_array_equal(stored.tiles.centers, tiles.centers)
