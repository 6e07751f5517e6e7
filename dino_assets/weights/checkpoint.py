"""Validation of a Hugging Face checkpoint directory without loading it: files, shapes, hashes."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from dino_assets.errors import CheckpointNotFoundError, InvalidCheckpointError
from dino_assets.weights.architecture import (
    CONFIG,
    Shapes,
    check_shapes,
    read_architecture,
    read_object,
    shorten,
)
from dino_assets.weights.records import Checkpoint, CheckpointFile, Family, StatisticsName

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
KEPT_SUFFIXES = (".safetensors", ".json", ".md", ".txt")
CARD = "readme.md"  # compared in lower case
LICENCES = ("license", "licence")  # beginnings of a licence's file name, in lower case
_KEPT_NAMES = (*LICENCES, "notice")
RANDOM = "random_weights_seed"  # key of this project's sample checkpoint in config.json
IMPORTED_FROM = "imported_from"  # key of this project's imports in config.json
CAVEAT = (
    "random weights: they only show that the pipeline runs; distances on the map and selections have no "
    "meaning. For real weights set DINO_MODEL_ID, for example to facebook/dinov2-base."
)
Triple = tuple[float, float, float]
Stamp = tuple[int, int, int, int]


class Statistics(NamedTuple):
    """Mean and standard deviation that normalise pixels, and where they come from."""

    mean: Triple
    std: Triple
    origin: str


# Means and standard deviations of the training images of the published models.
STATISTICS: dict[StatisticsName, tuple[Triple, Triple]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "sat493m": ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
}

# Keys of config.json that do not change the network: authorship, training, this project's own keys.
_IRRELEVANT_KEYS = {
    *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version"),
    *("initializer_range", "attention_dropout", "drop_path_rate", "hidden_dropout_prob"),
    *(RANDOM, IMPORTED_FROM),
}

# Files that this process has hashed, with their stamps at that time.
_hashed: dict[Path, tuple[Stamp, CheckpointFile]] = {}
_SHARD = re.compile(r"[^/\\.][^/\\]*\.safetensors")  # hidden files are not hashed


def read_checkpoint(folder: Path, *, model: str, published_as: str | None = None) -> Checkpoint:
    """Validate a checkpoint directory and describe it.

    The JSON files and the length of every safetensors file are checked. No shard may be missing, and tensor
    shapes must fit ``config.json``. Every file that belongs to a checkpoint is hashed. If no file holds the
    mean and standard deviation of pixels, they are guessed from the model's name: ``published_as`` if given,
    else ``model``.

    Raises:
        CheckpointNotFoundError: the directory does not exist, or holds no checkpoint.
        InvalidCheckpointError: files are incomplete or contradict each other.
    """
    if not folder.is_dir():
        raise CheckpointNotFoundError(
            f"there is no checkpoint directory {model!r}. Check the path.", file=model
        )
    config = read_object(folder / CONFIG, model)
    preprocessor = read_object(folder / PREPROCESSOR, model)
    shapes, used = _read_tensors(folder, model)
    architecture = read_architecture(config, model)
    check_shapes(shapes, architecture, model)
    files = tuple(
        _hash(path) for path in sorted(folder.iterdir()) if is_kept(path.name) and path.is_file()
    )
    statistics = _statistics(preprocessor, model, architecture.family, published_as or model)
    return Checkpoint(
        model=model,
        revision="content:" + digest_files(files)[:40],
        weights_sha256=digest_files(file for file in files if file.name in used),
        network=_name_network(config, statistics.mean, statistics.std),
        family=architecture.family,
        dim=architecture.dim,
        layers=architecture.layers,
        heads=architecture.heads,
        patch_px=architecture.patch_px,
        registers=architecture.registers,
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        mean=statistics.mean,
        std=statistics.std,
        statistics_from=statistics.origin,
        licence=_licence(folder, files),
        files=files,
        caveat=CAVEAT if RANDOM in config else None,
        imported_from=_origin(config.get(IMPORTED_FROM)),
    )


def stamp_files(folder: Path, checkpoint: Checkpoint) -> tuple[Stamp | None, ...]:
    """Return each file's stamp: size, times and inode; None for a missing file.

    A file with an unchanged stamp counts as unchanged.
    """
    return tuple(_stamp(folder / file.name) for file in checkpoint.files)


def check_files(folder: Path, checkpoint: Checkpoint) -> None:
    """Check that a folder still holds the checkpoint's weights and JSON files, before it is loaded.

    A file that this process has hashed is read again only if its stamp changed.

    Raises:
        InvalidCheckpointError: a file was changed or deleted.
    """
    for file in checkpoint.files:
        if not file.name.endswith((".safetensors", ".json")):
            continue
        path = folder / file.name
        stamp, hashed = _hashed.get(path, (None, None))
        if hashed is None or stamp != _stamp(path):
            hashed = _hash(path) if path.is_file() else None
        if hashed != file:
            raise InvalidCheckpointError(
                f"{checkpoint.model!r}: {file.name} in {str(folder)!r} has changed since the checkpoint "
                "was read. Fetch or copy it again, or run again to use the changed file.",
                file=file.name,
                reason="altered",
            )


def _name_network(config: Mapping[str, Any], *statistics: tuple[float, ...]) -> str:
    """Hash config and pixel statistics: the same tensors with another number of heads are another network."""
    relevant = {name: value for name, value in config.items() if name not in _IRRELEVANT_KEYS}
    text = json.dumps([relevant, statistics], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_files(files: Iterable[CheckpointFile]) -> str:
    """Hash a set of files by name and content; of a single file, return its own sha256."""
    listed = sorted(files, key=lambda file: file.name)
    if len(listed) == 1:
        return listed[0].sha256
    text = "".join(f"{file.name}\0{file.sha256}\n" for file in listed)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def read_shapes(path: Path, model: str) -> Shapes:
    """Read tensor shapes from a safetensors header.

    Raises:
        InvalidCheckpointError: the file is truncated, padded, or not safetensors.
    """
    try:
        # The library checks the file's length, gaps, overlaps, and that shapes fit their bytes.
        with safe_open(path, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except SafetensorError as err:
        raise InvalidCheckpointError(
            f"{model!r}: {path.name} ({path.stat().st_size:,} bytes) is not a whole safetensors file "
            f"({err}). Fetch or copy it again.",
            file=path.name,
            reason="unreadable",
        ) from err


def _read_tensors(folder: Path, model: str) -> tuple[Shapes, set[str]]:
    """Read the shapes of all tensors; return them with the names of their files."""
    if (folder / WEIGHTS).is_file():  # as in transformers, it is preferred to an index
        return read_shapes(folder / WEIGHTS, model), {WEIGHTS}
    if (folder / INDEX).is_file():
        return _read_shards(folder, model)
    pickled = sorted(path.name for path in folder.glob("*.bin")) + sorted(
        path.name for path in folder.glob("*.pt*")
    )
    if pickled:
        raise InvalidCheckpointError(
            f"{model!r} has only pickled weights ({pickled[0]}), which can run code when loaded. "
            f"Convert them to {WEIGHTS} with `dino-assets import`.",
            file=pickled[0],
            reason="code",
        )
    raise CheckpointNotFoundError(
        f"{model!r}: {WEIGHTS} is missing. Fetch or copy the checkpoint.",
        file=WEIGHTS,
    )


def _read_shards(folder: Path, model: str) -> tuple[Shapes, set[str]]:
    shard_of = _read_index(folder, model)
    names = sorted(set(shard_of.values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InvalidCheckpointError(
            f"{model!r}: {INDEX} names {len(names)} shards, of which {len(missing)} are missing: "
            f"{', '.join(missing[:3])}. Fetch or copy them.",
            file=missing[0],
            reason="missing",
        )
    shapes: Shapes = {}
    for name in names:
        shapes |= read_shapes(folder / name, model)
    if absent := sorted(shard_of.keys() - shapes.keys()):
        raise InvalidCheckpointError(
            f"{model!r}: {INDEX} names {len(absent)} tensors that no shard holds, for example "
            f"{absent[0]!r}. The files belong to different models. Fetch or copy them again.",
            file=INDEX,
            key=absent[0],
            reason="mismatch",
        )
    return shapes, set(names)


def _read_index(folder: Path, model: str) -> dict[str, str]:
    """Read from the index which shard holds each tensor; shards must be files in the index's folder."""
    shard_of = read_object(folder / INDEX, model).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise InvalidCheckpointError(
            f"{model!r}: {INDEX} names no shards in 'weight_map'. Fetch or copy it again.",
            file=INDEX,
            key="weight_map",
            reason="impossible",
        )
    for shard in shard_of.values():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise InvalidCheckpointError(
                f"{model!r}: {INDEX} names the shard {shorten(shard)}; a .safetensors file in the same "
                "folder is expected. Do not use this checkpoint unless you know who made it.",
                file=INDEX,
                key=shorten(shard),
                reason="outside",
            )
    return shard_of


def guess_statistics(family: Family, names: Mapping[str, str]) -> Statistics:
    """Guess the pixel statistics from a model's names, for a checkpoint whose files do not hold them.

    Each key of ``names`` says where a name was found, and its value is that name. ``sat493m`` in the name of
    a DINOv3 model means satellite images; otherwise ImageNet is assumed.
    """
    for origin, name in names.items():
        if family == "dinov3_vit" and "sat493m" in name.lower():
            return Statistics(*STATISTICS["sat493m"], f"sat493m, by {origin}")
    return Statistics(*STATISTICS["imagenet"], "ImageNet (the checkpoint names none)")


def _statistics(preprocessor: dict[str, Any], model: str, family: Family, name: str) -> Statistics:
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if mean is None and std is None:
        return guess_statistics(family, {"the model's name": name})
    try:
        (m0, m1, m2), (s0, s1, s2) = map(float, mean or ()), map(float, std or ())
        if min(s0, s1, s2) <= 0 or not all(map(math.isfinite, (m0, m1, m2, s0, s1, s2))):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as err:
        raise InvalidCheckpointError(
            f"{model!r}: {PREPROCESSOR} has image_mean={shorten(mean)}, image_std={shorten(std)}; "
            "three finite numbers each are expected, image_std above 0. Fetch or copy it again.",
            file=PREPROCESSOR,
            key="image_mean, image_std",
            reason="impossible",
        ) from err
    noted = preprocessor.get("statistics_from")  # written by `dino-assets import`
    origin = noted if isinstance(noted, str) and noted.strip() else PREPROCESSOR
    return Statistics((m0, m1, m2), (s0, s1, s2), origin)


def _origin(entry: object) -> str | None:
    """Describe the source of an imported checkpoint; None if it was not imported."""
    if not isinstance(entry, dict):
        return None
    words = (entry.get("format"), entry.get("file") or entry.get("folder"), entry.get("sha256"))
    if not all(isinstance(word, str) for word in words):
        return None
    return "{}, {}, sha256 {}".format(*words)


def is_kept(name: str) -> bool:
    """Check by its name whether a file belongs to a checkpoint; hidden files do not."""
    is_hidden = name.startswith(".")
    return is_paper(name) or (not is_hidden and name.lower().endswith(KEPT_SUFFIXES))


def is_paper(name: str) -> bool:
    """Check by its name, in any letter case, whether a file is a model card, a licence or a notice."""
    lowered = name.lower()
    return lowered in (CARD, "readme", "readme.txt") or lowered.startswith(_KEPT_NAMES)


def _hash(path: Path) -> CheckpointFile:
    stamp = _stamp(path)
    with path.open("rb") as file:
        hashed = CheckpointFile(
            path.name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
        )
    if stamp is not None and stamp == _stamp(path):
        _hashed[path] = stamp, hashed
    return hashed


def _stamp(path: Path) -> Stamp | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _licence(folder: Path, files: tuple[CheckpointFile, ...]) -> str | None:
    for card in [file.name for file in files if file.name.lower() == CARD]:
        text = (folder / card).read_text("utf-8-sig", errors="replace")  # reads \r\n as \n
        front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        # Cards of gated models have `license: other` and the name in `license_name`.
        for field in ("license_name", "license"):
            match = front and re.search(rf"^{field}:[ \t]*(\S+)[ \t]*$", front[1], re.MULTILINE)
            if match:
                return match[1]
    papers = [file.name for file in files if file.name.lower().startswith(_KEPT_NAMES)]
    return f"see {papers[0]}" if papers else None
