"""``fetch_dinov3`` and ``validate_dinov3``: a teacher on this machine, whole and verified."""

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
    """What a ``config.json`` says about the teacher; relative paths count from the file."""

    dino_root: Path
    dino_model: str = DEFAULT_TEACHER

    @classmethod
    def read(cls, path: Path) -> "FetcherConfig":
        """Read ``{"paths": {"dataset_root": …}, "train": {"dino_root": …, "dino_model": …}}``.

        Raises:
            ConfigError: it is not there, is no JSON, or names no ``train.dino_root`` that can be one.
        """
        path = expand_path(path)
        try:
            config = json.loads(path.read_bytes())
        except OSError as err:
            raise ConfigError(
                f"cannot read {str(path)!r} ({err.strerror}). It should hold "
                '{"train": {"dino_root": "dinov3"}}.',
                setting="config",
                value=str(path),
                reason="unreadable",
            ) from err
        except (ValueError, RecursionError) as err:
            raise ConfigError(
                f"{str(path)!r} is not JSON ({err})",
                setting="config",
                value=str(path),
                reason="json",
            ) from err
        train = config.get("train") if isinstance(config, dict) else None
        train = train if isinstance(train, dict) else {}
        named = _text(train, "dino_root", path)
        try:
            root = expand_path(named)
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
    """Fetch a DINOv3 or DINOv2 checkpoint of the Hugging Face Hub into a folder; gives the folder.

    ``model_name`` is a repository or a short name such as ``dinov3-vitl16``. What is there and whole
    is not fetched; a download goes on where another one stopped; a new one takes the old one's place
    in one step, when it is whole. ``progress`` is called with bytes so far and bytes in all.

    Raises:
        AuthenticationError: no token, a rejected one, or no access: says which, and where to ask.
        RepositoryNotFoundError, RevisionNotFoundError: the Hub has no such thing.
        LocalEntryNotFoundError: out of reach and not on this machine; ChecksumError: wrong bytes.
        DiskFullError: an OSError, said before the first byte is asked for.
        ConfigError: the folder has no name, or holds something that would be lost.
    """
    folder = _named(dino_root)
    fetch_checkpoint(model_name, folder, root=find_root(), revision=revision, progress=progress)
    return folder.absolute()


def validate_dinov3(dino_root: Path | str) -> bool:
    """Tell whether a folder holds a whole checkpoint; the log says what is wrong with it.

    Its JSON parses, its safetensors are as long as their headers say, no shard is missing, the shapes
    fit the config, and every file is the one that was fetched or imported.
    """
    try:
        check_checkpoint(_named(dino_root))
    except (DinoAssetsError, OSError) as err:  # what cannot be read cannot be used either
        log.warning("not valid: %s", err)
        return False
    return True


def _named(dino_root: Path | str) -> Path:
    if not str(dino_root).strip():
        raise ConfigError("dino_root is empty: name a folder.", setting="dino_root")
    return expand_path(dino_root)


def _text(train: dict[str, Any], name: str, path: Path, *, default: str = "") -> str:
    value = train.get(name, default)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(
            f"{str(path)!r}: train.{name} is {shorten(value)}; a text is expected, such as "
            f"{'dinov3' if name == 'dino_root' else DEFAULT_TEACHER!r}",
            setting=f"train.{name}",
            reason="type",
        )
    return value
