"""A repository whose commits can be told apart, for tests of folders it is fetched into."""

from pathlib import Path

import numpy as np

from dino_assets.weights.hub.listings import RECORD
from dino_assets.weights.hub.transfer import TransferRetries
from dino_assets_tests.worlds.finding import find_checkpoint
from dino_assets_tests.worlds.hub_server import HubServer

REPO = "org/model"
NAME = "model.safetensors"
WEIGHTS = np.random.default_rng(0).bytes(300_000)


def version(number: int) -> dict[str, bytes]:
    """The files of a commit: the small ones say which, and one of them is new every time."""
    return {
        NAME: WEIGHTS,
        "config.json": b'{"version": %d}' % number,
        "README.md": b"version %d" % number,
        f"only-{number}.json": b"{}",
    }


def fetch_into(folder: Path, model: str = REPO, **arguments: object) -> None:
    """A fetch that does not wait between its few attempts."""
    retries = TransferRetries(attempts=2, sleep=lambda _: None, rng=np.random.default_rng(0))
    path = find_checkpoint(model, root=folder.parent, into=folder, retries=retries, **arguments)
    assert path == folder.resolve()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != RECORD}


def leftovers(folder: Path) -> list[str]:
    """What stands beside the folder."""
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def paths(hub: HubServer) -> list[str]:
    return [call.path for call in hub.asked]
