"""``fetch_dinov3`` and ``validate_dinov3``: fetch and verify a checkpoint in a folder."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dino_assets.errors import ConfigError, DinoAssetsError
from dino_assets.settings.environment import find_root
from dino_assets.settings.urls import expand_path
from dino_assets.weights.architecture import shorten
from dino_assets.weights.catalogue import DEFAULT_TEACHER
from dino_assets.weights.fetching import check_checkpoint, fetch_checkpoint
from dino_assets.weights.hub.filling import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetcherConfig:
    """Settings of the teacher from a training's ``config.json``.

    A relative ``dino_root`` starts at that file's folder.
    """

    dino_root: Path
    dino_model: str = DEFAULT_TEACHER

    @classmethod
    def read(cls, path: Path) -> "FetcherConfig":
        """Read ``dino_root`` and ``dino_model`` from the object ``train`` of a JSON file.

        ``dino_model`` may be missing there; then it has its default.

        Raises:
            ConfigError: the file is missing or not JSON, or ``train.dino_root`` is missing or invalid.
        """
        path = expand_path(path)
        try:
            config = json.loads(path.read_bytes())
        except OSError as err:
            raise ConfigError(
                f"cannot read {str(path)!r} ({err.strerror}). A JSON file with "
                '{"train": {"dino_root": "dinov3"}} is expected.',
                setting="config",
                value=str(path),
                reason="unreadable",
            ) from err
        except (ValueError, RecursionError) as err:
            raise ConfigError(
                f"{str(path)!r} is not JSON ({err}). Correct the file.",
                setting="config",
                value=str(path),
                reason="json",
            ) from err
        train = config.get("train") if isinstance(config, dict) else None
        train = train if isinstance(train, dict) else {}
        root_text = _text(train, "dino_root", path)
        try:
            root = expand_path(root_text)
        except ConfigError as err:
            raise ConfigError(
                f"{str(path)!r}: train.dino_root: {err}", setting="train.dino_root", reason="path"
            ) from None
        return cls(
            dino_root=path.absolute().parent / root,
            dino_model=_text(train, "dino_model", path, default=DEFAULT_TEACHER),
        )


def fetch_dinov3(
    dino_root: Path | str,
    model_name: str = DEFAULT_TEACHER,
    *,
    revision: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Fetch a DINOv3 or DINOv2 checkpoint from the Hugging Face Hub into a folder; return the folder.

    ``model_name`` is a repository, or a short name like ``dinov3-vitl16``. ``revision`` is a branch, tag or
    commit of the repository. Complete files in the folder are not fetched again. An interrupted download is
    continued. A new checkpoint replaces the old one in one step, once it is complete. ``progress`` is called
    with the number of bytes so far and in all.

    >>> from dino_assets import fetch_dinov3
    >>> fetch_dinov3("out/teacher", "dinov3-vitl16").name
    'teacher'

    Raises:
        AuthenticationError: the token is missing, rejected or without access; the message says what to do.
        RepositoryNotFoundError, RevisionNotFoundError: the Hub does not have the repository or revision.
        LocalEntryNotFoundError: the Hub cannot be reached, and the checkpoint is not on this machine.
        ChecksumError: the downloaded bytes differ from the Hub's checksum.
        DiskFullError: the disk has too little space; this is checked before the first request.
        ConfigError: ``dino_root`` is empty, or the folder holds files that would be lost.
    """
    folder = _read_root(dino_root)
    fetch_checkpoint(model_name, folder, root=find_root(), revision=revision, progress=progress)
    return folder.absolute()


def validate_dinov3(dino_root: Path | str) -> bool:
    """Check whether a folder holds a complete, unchanged checkpoint; log the first fault.

    The JSON files must be readable, the safetensors files must have their full length, and no file may be
    missing. The tensors' shapes must fit the config. Files that were fetched or imported must be unchanged.

    >>> from dino_assets import validate_dinov3
    >>> validate_dinov3("models/demo")
    True
    """
    try:
        check_checkpoint(_read_root(dino_root))
    except (DinoAssetsError, OSError) as err:  # an unreadable folder is not valid either
        log.warning("the checkpoint is not valid: %s", err)
        return False
    return True


def _read_root(dino_root: Path | str) -> Path:
    if not str(dino_root).strip():
        raise ConfigError("dino_root is empty; give a folder.", setting="dino_root")
    return expand_path(dino_root)


def _text(train: dict[str, Any], name: str, path: Path, *, default: str = "") -> str:
    value = train.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(
            f"{str(path)!r}: train.{name} is {shorten(value)}; a text is expected, for example "
            f"{'dinov3' if name == 'dino_root' else DEFAULT_TEACHER!r}",
            setting=f"train.{name}",
            reason="type",
        )
    return value
