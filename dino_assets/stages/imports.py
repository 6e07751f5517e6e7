"""Importing a checkpoint of timm or Meta: a file in, a folder in Hugging Face's layout out."""

import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dino_assets.core.conversion.layout import Shard, make_index, plan_shards, view_bytes
from dino_assets.core.conversion.recognition import (
    Recognised,
    convert,
    find_value_problems,
    make_config,
    recognise,
)
from dino_assets.core.conversion.sources import DTYPES, Source, open_source
from dino_assets.core.conversion.statistics import (
    Statistics,
    StatisticsName,
    choose_statistics,
    make_preprocessor,
)
from dino_assets.core.weights import CONFIG, INDEX, KEPT_NAMES, PREPROCESSOR, read_checkpoint
from dino_assets.errors import ConfigError, InvalidCheckpointError
from dino_assets.records import Checkpoint

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 5 * 10**9
ORIGIN = "imported_from"  # our own key in config.json
LOCK = "lock"
_KEPT = re.compile(rf"(?:README|{'|'.join(KEPT_NAMES)})(?:\.md|\.txt)?", re.IGNORECASE)
# The file names of Meta's DINOv3 end in the first digits of their sha256.
_HASHED_NAME = re.compile(r"dinov3_\w+-([0-9a-f]{8,64})\.pth")


@dataclass(frozen=True)
class Imported:
    """What an import did, for the person who asked for it."""

    checkpoint: Checkpoint
    format: str
    source_sha256: str
    leftovers: Mapping[str, str]  # tensors that were not used → why
    made: tuple[str, ...]  # tensors that the file does not have: zeros that change no output
    statistics_from: str
    kept: tuple[str, ...]  # files taken along: the licence, the model card
    read_bytes: int
    written_bytes: int
    seconds: float


def import_checkpoint(
    source: Path,
    folder: Path,
    *,
    statistics: StatisticsName | None = None,
    replaces: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> Imported:
    """Convert one file of weights into a checkpoint folder, which appears whole or not at all.

    A README and a licence beside the file are taken along. ``statistics`` overrides what the file's
    surroundings say. Tensors keep their dtype and are read one at a time.

    Raises:
        CheckpointNotFoundError: there is no such file.
        InvalidCheckpointError: it is damaged, holds code, or is none of the known formats.
        ConfigError: the folder is there already, or cannot be replaced.
    """
    started = time.perf_counter()
    _check_folder(source, folder, replaces=replaces)
    model = source.name
    with open_source(source, model=model) as opened:
        found = recognise(opened.shapes, model=model)
        if problems := list(find_value_problems(found, opened.read)):
            raise InvalidCheckpointError(
                f"{model!r} looks like {found.format}, but {'; '.join(problems[:3])}. Its outputs "
                "would not be those of the original."
            )
        sha256 = _hash_source(source)
        chosen = choose_statistics(source, found, asked=statistics)
        with _new_folder(folder) as new:
            kept = _keep_papers(source, new)
            _write_config(new, found, opened, chosen, {"file": model, "sha256": sha256})
            written = _write_weights(new, found, opened, shard_bytes)
            checkpoint = read_checkpoint(new, model=str(folder))  # as every later reader will
            _check_folder(source, folder, replaces=replaces)  # it may have come up meanwhile
            _publish(new, folder)
    return Imported(
        checkpoint=checkpoint,
        format=found.format,
        source_sha256=sha256,
        leftovers={**found.leftovers, **opened.leftovers},
        made=tuple(piece.name for piece in found.pieces if piece.source is None),
        statistics_from=chosen.origin,
        kept=kept,
        read_bytes=source.stat().st_size,
        written_bytes=written,
        seconds=time.perf_counter() - started,
    )


def _check_folder(source: Path, folder: Path, *, replaces: bool) -> None:
    if folder.resolve() in source.resolve().parents:
        raise ConfigError(f"{str(source)!r} lies in {str(folder)!r}. Import into another folder.")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not replaces:
        raise ConfigError(
            f"{str(folder)!r} is there already and was left alone. Name a new folder, or ask for it "
            "to be replaced."
        )
    if folder.is_symlink() or not (folder / CONFIG).is_file():
        raise ConfigError(
            f"{str(folder)!r} does not look like a checkpoint (no {CONFIG}, or a link), so it was not "
            "replaced. Name another folder."
        )


def _hash_source(source: Path) -> str:
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    named = _HASHED_NAME.fullmatch(source.name)
    if named and not sha256.startswith(named[1]):
        raise InvalidCheckpointError(
            f"{source.name!r} should have a sha256 that begins with {named[1]}, and has "
            f"{sha256[:12]}…. Fetch or copy it again; if it was changed on purpose, rename it."
        )
    return sha256


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder near the final one, gone afterwards whatever happens.

    A lock beside it is held while its process lives, so that what a killed import left is known as
    such and cleared away by the next one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.importing-"
    for left in folder.parent.glob(f"{glob.escape(prefix)}*"):
        _remove_unless_locked(left)
    workplace = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        with (workplace / LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = workplace / folder.name  # made plainly: mkdtemp's own is closed to everybody else
            new.mkdir()
            yield new
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _remove_unless_locked(workplace: Path) -> None:
    try:
        # A file, opened to write: NFS locks nothing else.
        with (workplace / LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(workplace, ignore_errors=True)
    except OSError:
        return  # another import is at work, or has just begun or finished


def _keep_papers(source: Path, new: Path) -> tuple[str, ...]:
    found = sorted(
        path for path in source.parent.iterdir() if path.is_file() and _KEPT.fullmatch(path.name)
    )
    for path in found:
        shutil.copyfile(path, new / path.name)
        _sync(new / path.name)
    return tuple(path.name for path in found)


def _write_config(
    new: Path, found: Recognised, opened: Source, chosen: Statistics, origin: Mapping[str, str]
) -> None:
    config = make_config(found, dtype=_widest(found, opened))
    _write_json(new / CONFIG, config | {ORIGIN: {**origin, "format": found.format}})
    _write_json(new / PREPROCESSOR, make_preprocessor(found, chosen))


def _write_weights(new: Path, found: Recognised, opened: Source, shard_bytes: int) -> int:
    import torch

    widest = _widest(found, opened)
    dtypes = {
        piece.name: opened.dtypes[piece.source] if piece.source else DTYPES[widest]
        for piece in found.pieces
    }
    shards = plan_shards(found.pieces, dtypes, max_bytes=shard_bytes)
    for shard in shards:
        _write_shard(new / shard.name, shard, opened, getattr(torch, widest))
    if len(shards) > 1:
        _write_json(new / INDEX, make_index(shards, dtypes))
    return sum((new / shard.name).stat().st_size for shard in shards)


def _write_shard(path: Path, shard: Shard, opened: Source, dtype: "torch.dtype") -> None:
    with path.open("wb") as file:
        file.write(shard.header)
        for piece in shard.pieces:
            file.write(view_bytes(convert(piece, opened.read, dtype)))
        file.flush()
        os.fsync(file.fileno())


def _widest(found: Recognised, opened: Source) -> str:
    """The one dtype that transformers loads the model in."""
    used = {opened.dtypes[piece.source] for piece in found.pieces if piece.source}
    names = [name for name, code in DTYPES.items() if code in used]
    return names[0] if len(names) == 1 else "float32"


def _publish(new: Path, folder: Path) -> None:
    """Put the folder into its place; what was there goes only when the new one is in."""
    _sync(new)
    if not folder.exists() or not any(folder.iterdir()):
        new.rename(folder)
    else:
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.replaced-", dir=folder.parent))
        folder.rename(aside / folder.name)
        try:
            new.rename(folder)
        except BaseException:
            (aside / folder.name).rename(folder)
            aside.rmdir()
            raise
        shutil.rmtree(aside)
    _sync(folder.parent)


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
    _sync(path)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
