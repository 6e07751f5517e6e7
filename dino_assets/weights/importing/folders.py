"""Plans for importing a folder: in Hugging Face's layout, in timm's layout, or with one file of weights."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from dino_assets.errors import CheckpointNotFoundError, ConfigError, InvalidCheckpointError
from dino_assets.weights.architecture import CONFIG, read_family, read_object
from dino_assets.weights.checkpoint import (
    IMPORTED_FROM,
    INDEX,
    PREPROCESSOR,
    WEIGHTS,
    is_kept,
    read_checkpoint,
)
from dino_assets.weights.conversion.recognition import Piece
from dino_assets.weights.conversion.sources import PICKLED_SUFFIXES, open_source
from dino_assets.weights.conversion.statistics import (
    MEAN,
    STD,
    choose_statistics,
    complete_preprocessor,
    name_folder,
)
from dino_assets.weights.hub.listings import read_hub_record
from dino_assets.weights.importing.plans import (
    ImportPlan,
    encode_json,
    hash_source,
    plan_file,
    plan_weights,
)
from dino_assets.weights.records import Checkpoint, StatisticsName

HUGGING_FACE = "Hugging Face"
PICKLED = "pytorch_model.bin"
_SHA256_DIGITS = 64


def open_plan(
    source: Path, *, asked: StatisticsName | None, shard_bytes: int
) -> AbstractContextManager[ImportPlan]:
    """Plan the import of a file or a folder; the plan is valid inside the returned context.

    Raises:
        CheckpointNotFoundError: the source does not exist, or holds no weights.
        InvalidCheckpointError: the weights are damaged, hold code, or have an unknown format.
        ConfigError: the folder has several files of weights.
    """
    config = _read_object(source / CONFIG, name_folder(source)) if source.is_dir() else {}
    plan: AbstractContextManager[ImportPlan]
    if "model_type" not in config:
        file = _find_file(source, config) if source.is_dir() else source
        plan = plan_file(file, asked=asked, shard_bytes=shard_bytes)
    elif (source / PICKLED).is_file() and not any((source / n).exists() for n in (WEIGHTS, INDEX)):
        plan = _plan_pickled(source, config, asked=asked, shard_bytes=shard_bytes)
    else:
        plan = nullcontext(_plan_copy(source, config, asked=asked))
    return plan


def _find_file(folder: Path, config: Mapping[str, Any]) -> Path:
    """Find the only file of weights in a folder that is not in Hugging Face's layout."""
    model = name_folder(folder)
    if "pretrained_cfg" in config and (folder / WEIGHTS).is_file():
        return folder / WEIGHTS  # the file that timm itself loads
    if (folder / INDEX).is_file():
        raise CheckpointNotFoundError(
            f"{model!r} has Hugging Face's {INDEX}, but no {CONFIG} with a model_type. Fetch or copy that "
            "file too.",
            file=CONFIG,
        )
    # Training leaves small .bin files beside the weights, so .bin files are considered last.
    for suffixes in ((".safetensors", ".pth", ".pt"), PICKLED_SUFFIXES):
        files = _list_files(folder, suffixes)
        if len(files) > 1:
            listed = ", ".join(path.name for path in files[:5])
            raise ConfigError(
                f"{model!r} has {len(files)} files of weights: {listed}"
                f"{', …' if len(files) > 5 else ''}. Give the one to import.",
                setting="source",
                value=[path.name for path in files],
            )
        if files:
            return files[0]
    raise CheckpointNotFoundError(
        f"there are no weights in the folder {model!r}: a .safetensors or one of "
        f"{', '.join(PICKLED_SUFFIXES)} is expected. Give the file or folder that has them.",
        file=model,
    )


def _list_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
    )


def _plan_copy(folder: Path, config: dict[str, Any], *, asked: StatisticsName | None) -> ImportPlan:
    """Plan to copy a Hugging Face folder and to add missing files."""
    model = name_folder(folder)
    weights = _list_weights(folder)
    pickled = _list_files(folder, PICKLED_SUFFIXES)
    if not weights and pickled:
        raise InvalidCheckpointError(
            f"{model!r} has its weights pickled in {pickled[0].name!r}; only a single {PICKLED} can be "
            "converted. If you trust it, load it with transformers, and import the folder that its "
            "save_pretrained writes.",
            file=pickled[0].name,
            reason="code",
        )
    copies = _list_kept(folder, weights)
    texts = _make_preprocessor(folder, config, asked=asked)
    checkpoint = _examine({**copies, **texts}, model)
    if not config.get(IMPORTED_FROM):  # an import of an import keeps the first origin
        origin = {
            "folder": _name_origin(folder, checkpoint),
            "sha256": checkpoint.weights_sha256,
            "format": HUGGING_FACE,
        }
        texts[CONFIG] = encode_json(config | {IMPORTED_FROM: origin})
    copies = {name: path for name, path in copies.items() if name not in texts}
    digests = {file.name: file.sha256 for file in checkpoint.files if file.name in copies}
    return ImportPlan(format=HUGGING_FACE, texts=texts, copies=copies, digests=digests)


@contextmanager
def _plan_pickled(
    folder: Path, config: dict[str, Any], *, asked: StatisticsName | None, shard_bytes: int
) -> Iterator[ImportPlan]:
    """Plan the conversion of a Hugging Face folder whose weights are pickled; tensors keep their names."""
    model = f"{name_folder(folder)}/{PICKLED}"
    texts = _make_preprocessor(folder, config, asked=asked)
    with open_source(folder / PICKLED, model=model) as opened:
        pieces = [Piece(name, shape, name) for name, shape in opened.shapes.items()]
        weights, index = plan_weights(pieces, opened, "float32", shard_bytes)
        origin = {
            "folder": name_folder(folder),
            "file": PICKLED,
            "sha256": hash_source(folder / PICKLED),
            "format": f"{HUGGING_FACE}, pickled",
        }
        texts |= index | {
            CONFIG: encode_json({**config, IMPORTED_FROM: config.get(IMPORTED_FROM) or origin})
        }
        others = _list_kept(folder, set())
        yield ImportPlan(
            format=origin["format"],
            texts=texts,
            copies={name: path for name, path in others.items() if name not in texts},
            weights=weights,
            leftovers=opened.leftovers,
        )


def _list_weights(folder: Path) -> set[str]:
    """List the names of the weight files; whether they exist is checked later."""
    if (folder / WEIGHTS).is_file():
        return {WEIGHTS}
    if not (folder / INDEX).is_file():
        return set()
    try:
        shards = json.loads((folder / INDEX).read_bytes())["weight_map"].values()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        shards = ()
    return {INDEX, *(name for name in shards if isinstance(name, str))}


def _list_kept(folder: Path, weights: set[str]) -> dict[str, Path]:
    """List the files to copy, by name: those in ``weights``, and all files of a checkpoint but weights."""
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and (
            path.name in weights
            if path.name.endswith((".safetensors", ".index.json"))
            else is_kept(path.name)
        )
    }


def _make_preprocessor(
    folder: Path, config: Mapping[str, Any], *, asked: StatisticsName | None
) -> dict[str, bytes]:
    """Make a new preprocessor file, as its name and content; return no entry if the old file can be kept.

    A new file is needed if the old one or its pixel statistics are missing, or if ``asked`` names statistics.
    """
    model = name_folder(folder)
    family = read_family(config, model)
    preprocessor = _read_object(folder / PREPROCESSOR, model)
    if not asked and any(preprocessor.get(key) is not None for key in (MEAN, STD)):
        return {}
    name = config.get("_name_or_path")  # written by save_pretrained of transformers 4
    record = read_hub_record(folder)
    chosen = choose_statistics(
        folder / CONFIG,
        family,
        asked=asked,
        name=name if isinstance(name, str) else "",
        published_as=record.listing.repo if record else None,
    )
    return {PREPROCESSOR: encode_json(complete_preprocessor(preprocessor, chosen, family))}


def _examine(files: Mapping[str, Path | bytes], model: str) -> Checkpoint:
    """Validate the checkpoint that ``files`` (paths, or contents) would make, without copying them."""
    with tempfile.TemporaryDirectory(prefix="dino-assets-") as aside:
        for name, content in files.items():
            if isinstance(content, Path):
                (Path(aside) / name).symlink_to(content.absolute())
            else:
                (Path(aside) / name).write_bytes(content)
        return read_checkpoint(Path(aside), model=model)


def _name_origin(folder: Path, checkpoint: Checkpoint) -> str:
    """Return the commit of a fetched folder if its files are unchanged; else the folder's name."""
    record = read_hub_record(folder)
    if record is None:
        return name_folder(folder)
    sha256 = {file.name: file.sha256 for file in checkpoint.files}
    weights = {name for name in sha256 if name.endswith(".safetensors")}
    is_unchanged = weights <= record.listing.names and all(
        sha256.get(file.name) == file.digest  # large files were just hashed
        if len(file.digest) == _SHA256_DIGITS
        else file.is_at(folder / file.name)
        for file in record.listing.files
    )
    commit = f"{record.listing.repo}@{record.listing.commit}"
    return commit if is_unchanged else name_folder(folder)


def _read_object(path: Path, model: str) -> dict[str, Any]:
    """Read a JSON file's object; empty if the file does not exist."""
    return read_object(path, model) if path.is_file() else {}
