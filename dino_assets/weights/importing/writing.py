"""Import of a checkpoint: from a file or folder into a folder in Hugging Face's layout."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dino_assets.errors import ConfigError, DinoAssetsError, DiskFullError, InvalidCheckpointError
from dino_assets.settings.urls import expand_path
from dino_assets.store.folders import check_room, publish_folder, sync, write_small
from dino_assets.weights.checkpoint import (
    LICENCES,
    read_checkpoint,
)
from dino_assets.weights.conversion.layout import WeightShard, view_bytes
from dino_assets.weights.conversion.recognition import Piece
from dino_assets.weights.conversion.statistics import name_folder
from dino_assets.weights.hub.listings import RECORD, HubFile, Listing, Record
from dino_assets.weights.importing.folders import open_plan
from dino_assets.weights.importing.places import (
    check_folder,
    check_old,
    clear_leftovers,
    new_folder,
)
from dino_assets.weights.importing.plans import ImportPlan
from dino_assets.weights.records import Checkpoint, StatisticsName

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 5 * 10**9
Step = Literal["write", "check", "publish"]
_NO_LICENCE = ("other", "unknown")  # values in cards that name no licence
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ADVICE = "Free some space, or give a folder on another disk."


@dataclass(frozen=True)
class Imported:
    """What an import reports to the user: the new checkpoint, unused tensors, warnings, and the time."""

    checkpoint: Checkpoint
    format: str
    leftovers: Mapping[str, str]  # unused tensors → reason
    warnings: tuple[str, ...]  # each needs an action of the user
    seconds: float


def import_checkpoint(
    source: Path,
    folder: Path,
    *,
    statistics: StatisticsName | None = None,
    replaces: bool = False,
    shard_bytes: int = SHARD_BYTES,
    on_step: Callable[[Step], object] = lambda step: None,
) -> Imported:
    """Make a whole checkpoint folder from a file of weights or another folder.

    timm's and Meta's files are converted one tensor at a time, without a change of dtype. Hugging Face
    folders are copied. A README and a licence are copied too. ``statistics`` overrides the source's pixel
    statistics. With ``replaces`` an older checkpoint in the folder is replaced, if the folder holds no other
    files. ``on_step`` is called when a step begins. After an error the folder is unchanged.

    Raises:
        CheckpointNotFoundError: the source does not exist, or holds no weights.
        InvalidCheckpointError: the source is damaged, holds code, or has an unknown format.
        ConfigError: the source is ambiguous, or the folder exists, holds other files, or cannot be made.
        DiskFullError: the disk has too little space.
    """
    started = time.perf_counter()
    source, folder = expand_path(source), expand_path(folder)
    with _wrapping_os_errors(source, folder):
        check_folder(source, folder)
        check_old(folder, folder, replaces=replaces)
        with open_plan(source, asked=statistics, shard_bytes=shard_bytes) as plan:
            clear_leftovers(folder)  # first: they may take as much space as a checkpoint
            standing = next(place for place in folder.absolute().parents if place.exists())
            what = f"importing {_name(source)!r}"
            check_room(standing, plan.needed_bytes, what=what, advice=_ADVICE)
            with _wrapping_full_disk(what, plan, standing), new_folder(folder) as new:
                on_step("write")
                _write(plan, new)
                on_step("check")
                checkpoint = read_checkpoint(new, model=str(folder))
                _check_copies(plan, checkpoint, _name(source))
                write_small(new / RECORD, _record(checkpoint).dump())
                on_step("publish")
                # `check_old` runs again, since the folder may have changed meanwhile.
                publish_folder(new, folder, check_old=partial(check_old, folder, replaces=replaces))
    return Imported(
        checkpoint=checkpoint,
        format=plan.format,
        leftovers=plan.leftovers,
        warnings=tuple(_find_warnings(checkpoint, source)),
        seconds=time.perf_counter() - started,
    )


@contextmanager
def _wrapping_os_errors(source: Path, folder: Path) -> Iterator[None]:
    """Turn errors of the file system into messages with advice."""
    try:
        yield
    except DinoAssetsError:
        raise
    except OSError as err:
        if err.errno in _FULL:
            raise DiskFullError(
                f"the check of {_name(source)!r} needs a little space for temporary files, and the disk is "
                "full. Free some space, or set TMPDIR to a folder on another disk."
            ) from err
        raise ConfigError(
            f"importing {str(source)!r} into {str(folder)!r} failed: {err.strerror or err}. Check that the "
            "source can be read and the folder can be written.",
            setting="folder",
            value=str(folder),
            reason=errno.errorcode.get(err.errno or 0, ""),
        ) from err


@contextmanager
def _wrapping_full_disk(what: str, plan: ImportPlan, standing: Path) -> Iterator[None]:
    """Turn the error of a disk that became full during the import into a message with sizes."""
    try:
        yield
    except OSError as err:
        if isinstance(err, DinoAssetsError) or err.errno not in _FULL:
            raise
        free = shutil.disk_usage(standing).free
        raise DiskFullError(
            f"{what} needs {plan.needed_bytes:,} bytes, and the disk became full. The partial import was "
            f"removed; {free:,} bytes are free now. {_ADVICE}",
            needed_bytes=plan.needed_bytes,
            free_bytes=free,
        ) from err


def _write(plan: ImportPlan, new: Path) -> None:
    for name, path in plan.copies.items():
        shutil.copyfile(path, new / name)  # follows links, and gives a new file's permissions
        sync(new / name)
    for name, text in plan.texts.items():
        write_small(new / name, text)
    if plan.weights:
        for shard in plan.weights.shards:
            write_shard(new / shard.name, shard, plan.weights.make)


def write_shard(path: Path, shard: WeightShard, make: Callable[[Piece], "torch.Tensor"]) -> None:
    """Write one safetensors file, one tensor at a time."""
    with path.open("wb") as file:
        file.write(shard.header)
        for piece in shard.pieces:
            file.write(view_bytes(make(piece)))
        file.flush()
        os.fsync(file.fileno())


def _check_copies(plan: ImportPlan, checkpoint: Checkpoint, model: str) -> None:
    for file in checkpoint.files:
        if plan.digests.get(file.name, file.sha256) != file.sha256:
            raise InvalidCheckpointError(
                f"{model!r}: {file.name} changed while it was copied. Import again when no other program "
                "writes to it.",
                file=file.name,
                reason="altered",
            )


def _record(checkpoint: Checkpoint) -> Record:
    """Make the record with the hashes of all files, which detects later changes."""
    files = tuple(HubFile(file.name, file.bytes, file.sha256) for file in checkpoint.files)
    return Record(Listing(repo="", commit="", files=files), revision="")


def _find_warnings(checkpoint: Checkpoint, source: Path) -> Iterator[str]:
    if checkpoint.caveat or _has_licence(checkpoint):
        return  # this project's sample, or a checkpoint with its licence
    place = "into that folder" if source.is_dir() else "beside the file"
    if checkpoint.family == "dinov3_vit":
        terms = (
            "DINOv3's licence must travel with the weights and with everything exported from them: "
            f"put its LICENSE.md {place}"
        )
    else:
        terms = (
            "Meta published DINOv2 under Apache-2.0; to keep the text with the weights, put it as "
            f"LICENSE {place}"
        )
    yield (f"{_name(source)!r} has no licence text. {terms} and import again with --replace.")


def _has_licence(checkpoint: Checkpoint) -> bool:
    """Check whether a checkpoint has a licence's text, or a model card that names one."""
    if any(file.name.lower().startswith(LICENCES) for file in checkpoint.files):
        return True
    licence = checkpoint.licence or "other"
    return licence not in _NO_LICENCE and " " not in licence  # not "see NOTICE"


def _name(source: Path) -> str:
    return name_folder(source) if source.is_dir() else source.name
