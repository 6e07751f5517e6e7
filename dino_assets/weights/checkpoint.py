"""Reading a Hugging Face checkpoint directory without loading it: whole, consistent, hashed."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

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
from dino_assets.weights.records import Checkpoint, CheckpointFile, Family

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
KEPT_SUFFIXES = (".safetensors", ".json", ".md", ".txt")
CARD = "readme.md"  # in any case
LICENCES = ("license", "licence")  # what such names begin with, in any case
_KEPT_NAMES = (*LICENCES, "notice")
RANDOM = "random_weights_seed"  # our sample checkpoint's own key in config.json
IMPORTED_FROM = "imported_from"  # our imports' own key in config.json
CAVEAT = (
    "random weights: they show the plumbing only, and what is near on the map or chosen means nothing. "
    "The setting DINO_MODEL_ID names real ones, such as facebook/dinov2-base."
)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
StatisticsName = Literal["imagenet", "sat493m"]
Triple = tuple[float, float, float]
# Means and standard deviations of what the published models were trained on.
STATISTICS: dict[StatisticsName, tuple[Triple, Triple]] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "sat493m": ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
}

# What config.json says beside the network: who wrote it, for which training, under which of our keys.
_SAYS_NOTHING = {
    *("_name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version"),
    *("initializer_range", "attention_dropout", "drop_path_rate", "hidden_dropout_prob"),
    *(RANDOM, IMPORTED_FROM),
}

_MAX_HEADER_BYTES = 100 * 2**20
_MAX_FILE_BYTES = 2**63
_SHARD = re.compile(r"[^/\\.][^/\\]*\.safetensors")  # a hidden one would not be hashed


def read_checkpoint(folder: Path, *, model: str, published_as: str | None = None) -> Checkpoint:
    """Validate a checkpoint directory and say what it is.

    Checks that the JSON parses, that every safetensors file is as long as its header says, that no
    shard is missing, and that tensor shapes fit ``config.json``. Hashes every file that counts.
    Where the files name no statistics, the name tells: of the repository that they were
    ``published_as``, if it is known, else of the ``model``.

    Raises:
        CheckpointNotFoundError: there is no such directory, or no checkpoint in it.
        InvalidCheckpointError: it is incomplete, or its files contradict each other.
    """
    if not folder.is_dir():
        raise CheckpointNotFoundError(f"there is no checkpoint directory {model!r}")
    config = read_object(folder / CONFIG, model)
    preprocessor = read_object(folder / PREPROCESSOR, model)
    used = _weight_files(folder, model)
    shapes: Shapes = {}
    for path in used:
        shapes |= read_shapes(path, model)
    _check_index(folder, shapes, model)
    found = read_architecture(config, model)
    check_shapes(shapes, found, model)
    files = tuple(_hash(path) for path in _kept_files(folder))
    mean, std, origin = _statistics(preprocessor, model, found.family, published_as or model)
    return Checkpoint(
        model=model,
        revision="content:" + digest_files(files)[:40],
        weights_sha256=digest_files(f for f in files if folder / f.name in used),
        network=_name_network(config, mean, std),
        family=found.family,
        dim=found.dim,
        layers=found.layers,
        heads=found.heads,
        patch_px=found.patch_px,
        registers=found.registers,
        parameters=sum(_product(shape) for shape in shapes.values()),
        mean=mean,
        std=std,
        statistics_from=origin,
        licence=_licence(folder, files),
        files=files,
        caveat=CAVEAT if RANDOM in config else None,
        imported_from=_origin(config.get(IMPORTED_FROM)),
    )


def _name_network(config: Mapping[str, Any], *statistics: tuple[float, ...]) -> str:
    """What is computed with the weights: the same tensors with other heads are another network."""
    kept = {name: value for name, value in config.items() if name not in _SAYS_NOTHING}
    text = json.dumps([kept, statistics], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_files(files: Iterable[CheckpointFile]) -> str:
    """One hash over named files; a single file's own sha256, so that it can be looked up anywhere."""
    listed = sorted(files, key=lambda file: file.name)
    if len(listed) == 1:
        return listed[0].sha256
    text = "".join(f"{file.name}\0{file.sha256}\n" for file in listed)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def read_shapes(path: Path, model: str) -> Shapes:
    """Tensor shapes from a safetensors header, after checking that the file is as long as it says.

    Raises:
        InvalidCheckpointError: truncated, padded, or not safetensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            raise InvalidCheckpointError(
                f"{model!r}: {path.name} is not a whole safetensors file ({size:,} bytes). Fetch or "
                "copy it again."
            )
        try:
            header = json.loads(file.read(length))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
            announced = 8 + length + int(max(ends, default=0))
            if not 0 <= announced < _MAX_FILE_BYTES:
                raise ValueError("it announces more than a file can hold")
        except (
            ValueError,
            ArithmeticError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as err:
            raise _unreadable_header(path, model, err) from err
    if announced != size:
        raise InvalidCheckpointError(
            f"{model!r}: {path.name} has {size:,} bytes, its header announces {announced:,}. The copy "
            "is not complete; fetch or copy it again."
        )
    try:
        # The library itself checks the rest: no gaps, no overlaps, shapes that fill their bytes.
        with safe_open(path, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except SafetensorError as err:
        raise _unreadable_header(path, model, err) from err


def _unreadable_header(path: Path, model: str, err: Exception) -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{model!r}: the header of {path.name} does not parse ({err}). Fetch or copy it again."
    )


def _weight_files(folder: Path, model: str) -> list[Path]:
    if (folder / WEIGHTS).is_file():  # transformers, too, takes it before an index
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        names = sorted(set(_read_index(folder, model).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise InvalidCheckpointError(
                f"{model!r}: {INDEX} names {len(names)} shards, {len(missing)} are missing: "
                f"{', '.join(missing[:3])}. Fetch or copy them."
            )
        return [folder / name for name in names]
    pickled = sorted(path.name for path in folder.glob("*.bin")) + sorted(
        path.name for path in folder.glob("*.pt*")
    )
    if pickled:
        raise InvalidCheckpointError(
            f"{model!r} has only pickled weights ({pickled[0]}), which can run code when loaded. "
            f"Convert them to {WEIGHTS} first."
        )
    raise CheckpointNotFoundError(f"{model!r}: {WEIGHTS} is missing. Fetch or copy the checkpoint.")


def _read_index(folder: Path, model: str) -> dict[str, str]:
    """Which shard holds which tensor; shards are files of this very folder."""
    named = read_object(folder / INDEX, model).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise InvalidCheckpointError(
            f"{model!r}: {INDEX} names no shards in 'weight_map'. Fetch or copy it again."
        )
    for shard in named.values():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise InvalidCheckpointError(
                f"{model!r}: {INDEX} names the shard {shorten(shard)}; a .safetensors file beside it is "
                "expected. Do not use this checkpoint unless you know who made it."
            )
    return named


def _check_index(folder: Path, shapes: Shapes, model: str) -> None:
    if (folder / WEIGHTS).is_file():
        return
    absent = sorted(_read_index(folder, model).keys() - shapes.keys())
    if absent:
        raise InvalidCheckpointError(
            f"{model!r}: {INDEX} names {len(absent)} tensors that no shard holds, {absent[0]!r} among "
            "them. The files belong to different models."
        )


def is_satellite(name: str, family: Family) -> bool:
    """Tells from a name whether satellite statistics apply; Meta trained only DINOv3 on them."""
    return family == "dinov3_vit" and "sat493m" in name.lower()


def _statistics(
    preprocessor: dict[str, Any], model: str, family: Family, name: str
) -> tuple[Triple, Triple, str]:
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if mean is None and std is None:
        if is_satellite(name, family):
            return *STATISTICS["sat493m"], "sat493m, by the model's name"
        return *STATISTICS["imagenet"], "ImageNet (the checkpoint names none)"
    try:
        (m0, m1, m2), (s0, s1, s2) = map(float, mean or ()), map(float, std or ())
    except (TypeError, ValueError, OverflowError) as err:
        raise InvalidCheckpointError(
            f"{model!r}: {PREPROCESSOR} has image_mean={shorten(mean)}, image_std={shorten(std)}; "
            "three numbers each are expected"
        ) from err
    if min(s0, s1, s2) <= 0 or not all(map(math.isfinite, (m0, m1, m2, s0, s1, s2))):
        raise InvalidCheckpointError(
            f"{model!r}: {PREPROCESSOR} has image_mean={shorten(mean)}, image_std={shorten(std)}; "
            "finite numbers are expected, image_std above 0"
        )
    said = preprocessor.get("statistics_from")  # our imports write it
    origin = said if isinstance(said, str) and said.strip() else PREPROCESSOR
    return (m0, m1, m2), (s0, s1, s2), origin


def _origin(said: object) -> str | None:
    """Where an import had its weights, in a sentence; our own key, so anything else is nobody's."""
    if not isinstance(said, dict):
        return None
    words = (said.get("format"), said.get("file") or said.get("folder"), said.get("sha256"))
    if not all(isinstance(word, str) for word in words):
        return None
    return "{}, {}, sha256 {}".format(*words)


def _kept_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if is_kept(path.name) and path.is_file())


def is_kept(name: str) -> bool:
    """Tells whether a file of this name belongs to a checkpoint; hidden ones are somebody's notes."""
    is_hidden = name.startswith(".")
    return is_paper(name) or (not is_hidden and name.lower().endswith(KEPT_SUFFIXES))


def is_paper(name: str) -> bool:
    """Tells a model card, a licence or a notice by its name, in any case and with any suffix."""
    lowered = name.lower()
    return lowered in (CARD, "readme", "readme.txt") or lowered.startswith(_KEPT_NAMES)


def _hash(path: Path) -> CheckpointFile:
    with path.open("rb") as file:
        return CheckpointFile(
            path.name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
        )


def _licence(folder: Path, files: tuple[CheckpointFile, ...]) -> str | None:
    for card in [file.name for file in files if file.name.lower() == CARD]:
        text = (folder / card).read_text("utf-8-sig", errors="replace")  # \r\n arrives as \n
        front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        # Gated cards say `license: other` and then name it.
        for field in ("license_name", "license"):
            named = front and re.search(rf"^{field}:[ \t]*(\S+)[ \t]*$", front[1], re.MULTILINE)
            if named:
                return named[1]
    found = [file.name for file in files if file.name.lower().startswith(_KEPT_NAMES)]
    return f"see {found[0]}" if found else None


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
