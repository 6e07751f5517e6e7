"""Mirrors of the Hub: no error codes, no hashes, long waits."""

import logging
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import snapshot_download

from dino_assets.errors import LocalEntryNotFoundError, RepositoryNotFoundError
from dino_assets.weights.hub.transfer import TransferRetries
from dino_assets_tests.worlds.finding import contents, find_checkpoint
from dino_assets_tests.worlds.raising import raising

REPO = "org/model"
FILES = {"model.safetensors": b"weights" * 1000, "config.json": b"{}"}


def test_list_revision__plain_404_names_repository_and_revision(hub, tmp_path):
    hub.add(REPO, FILES)
    hub.gives_codes = False
    text = "no repository 'org/typo', or it is private"
    with raising(RepositoryNotFoundError, match=text, hides="revision"):
        find_checkpoint("org/typo", root=tmp_path)
    text = "no repository 'org/model' or no revision 'nope' of it, or it is private"
    with pytest.raises(RepositoryNotFoundError, match=text):
        find_checkpoint(REPO, root=tmp_path, revision="nope")


def test_list_revision__listing_without_hashes(hub, tmp_path, caplog):
    hub.add(REPO, FILES)
    hub.gives_hashes = False
    text = "the listing has no hashes, so the files could not be verified: use the Hub itself or another"
    with pytest.raises(LocalEntryNotFoundError, match=text):
        find_checkpoint(REPO, root=tmp_path)
    assert len(hub.asked) == 1
    hub.gives_hashes = True
    folder = find_checkpoint(REPO, root=tmp_path)
    hub.gives_hashes = False
    assert find_checkpoint(REPO, root=tmp_path) == folder
    assert "the listing has no hashes" in caplog.text


def test_list_revision__logs_each_wait(hub, tmp_path, caplog):
    hub.add(REPO, FILES)
    hub.misbehave("listing", "429", times=2, Retry_After="12")
    caplog.set_level(logging.WARNING, logger="dino_assets")
    waits: list[float] = []
    retries = TransferRetries(sleep=waits.append, rng=np.random.default_rng(0))
    find_checkpoint(REPO, root=tmp_path, retries=retries)
    assert waits == [12, 12]
    assert caplog.text.count("the listing of 'org/model': HTTP 429; trying again in 12.0 s") == 2


def test_find_checkpoint__the_test_server_works_with_the_library(hub, tmp_path):
    """The server that all of these tests fetch from."""
    hub.add(REPO, {**FILES, "onnx/model.onnx": b"another"})
    folder = Path(snapshot_download(REPO, cache_dir=tmp_path / "c", endpoint=hub.endpoint))
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert (folder / "onnx" / "model.onnx").read_bytes() == b"another"


def test_list_revision__succeeds_after_a_short_outage(hub, tmp_path):
    hub.add(REPO, FILES)
    hub.misbehave("listing", "502", times=2)
    waits: list[float] = []
    folder = find_checkpoint(REPO, root=tmp_path, retries=TransferRetries(sleep=waits.append))
    assert contents(folder) == FILES
    assert len(waits) == 2
