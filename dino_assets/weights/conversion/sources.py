"""Safe opening of tensor files: no code in them is run, and values are read on demand."""

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from dino_assets.errors import CheckpointNotFoundError, InvalidCheckpointError
from dino_assets.weights.architecture import Shapes
from dino_assets.weights.checkpoint import read_shapes
from dino_assets.weights.conversion.recognition import UNDERSTOOD

if TYPE_CHECKING:
    import torch

PICKLED_SUFFIXES = (".pth", ".pt", ".bin")
# Keys under which training programs store the weights; the teacher is the model used afterwards.
_WRAPPERS = ("teacher", "model", "state_dict")
_PREFIXES = ("module.", "_orig_mod.", "backbone.")
_HEADS = re.compile(r"(?:dino_head|ibot_head)\.")
_HEADS_REASON = "a pre-training head; embeddings come from the backbone"
_CHUNKED = re.compile(r"blocks\.\d+\.(\d+)\.")  # number of FSDP's group, then number of the block
_CODE = re.compile(r"GLOBAL ([\w.]+)")
# torch's names → safetensors'
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class TensorSource:
    """The named tensors of a file: shapes and dtypes (safetensors' names); ``read`` reads values."""

    shapes: Shapes
    dtypes: Mapping[str, str]
    read: Callable[[str], "torch.Tensor"]
    leftovers: Mapping[str, str]  # tensors outside the backbone → reason


@contextmanager
def open_source(path: Path, *, model: str) -> Iterator[TensorSource]:
    """Open timm's .safetensors or Meta's .pth, and shorten tensor names to those of the bare backbone.

    Raises:
        CheckpointNotFoundError: the file does not exist.
        InvalidCheckpointError: the file is damaged, holds code, or holds no tensors.
    """
    if not path.is_file():
        raise CheckpointNotFoundError(
            f"there is no file {model!r}. Give the file with the weights, or its folder.",
            file=model,
        )
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        shapes = read_shapes(path, model)
        with safe_open(path, framework="pt") as tensors:
            dtypes = {name: tensors.get_slice(name).get_dtype() for name in shapes}
            yield _rename(shapes, dtypes, tensors.get_tensor, model)
    elif suffix in PICKLED_SUFFIXES:
        tensors = _read_pickled(path, model)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        dtypes = {name: str(tensor.dtype) for name, tensor in tensors.items()}
        yield _rename(shapes, dtypes, tensors.__getitem__, model)
    else:
        raise _unsupported(
            model,
            f" has the suffix {path.suffix!r}; .safetensors or {', '.join(PICKLED_SUFFIXES)} is expected",
        )


def _read_pickled(path: Path, model: str) -> dict[str, "torch.Tensor"]:
    """Read the tensors of a pickle, memory-mapped if possible; refuse a file that holds anything else."""
    import torch

    is_zip = zipfile.is_zipfile(path)  # a plain pickle, from before torch 1.6, cannot be mapped
    if is_zip:
        _check_archive(path, model)
    try:
        # weights_only: torch's own unpickler builds tensors and plain containers only, and runs no code.
        tree = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)  # noqa: TID251
    except PermissionError:
        raise  # says nothing about the file's content
    except Exception as err:  # noqa: BLE001 - for a damaged pickle torch may raise any error
        if code := _CODE.search(str(err)):
            raise InvalidCheckpointError(
                f"{model!r} holds code ({code[1]!r}) that would run on loading, so it was not loaded. If "
                "you trust the file, save only its state_dict, with tensors only; or use the safetensors "
                "of the same model.",
                file=model,
                key=code[1],
                reason="code",
            ) from None
        # torch's text is left out: it advises to turn weights_only off.
        raise _damaged(model, f"torch raises {type(err).__name__}") from None
    return _unwrap(tree, model)


def _check_archive(path: Path, model: str) -> None:
    """Check the archive's checksums, which memory-mapping skips."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch maps the stored bytes, so they must not be compressed.
            packed = [i.filename for i in archive.infolist() if i.compress_type]
            bad = packed[0] if packed else archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError) as err:
        raise _damaged(model, str(err)) from None
    if bad:
        raise _damaged(model, f"{bad!r} in it has a wrong checksum, or is compressed")


def _damaged(model: str, detail: str) -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{model!r} is not a whole PyTorch checkpoint ({detail}). Fetch or copy it again.",
        file=model,
        reason="unreadable",
    )


def _unsupported(model: str, what: str, *, key: str = "") -> InvalidCheckpointError:
    return InvalidCheckpointError(
        f"{model!r}{what}. {UNDERSTOOD}", file=model, key=key, reason="unsupported"
    )


def _unwrap(tree: Any, model: str) -> dict[str, "torch.Tensor"]:
    """Return the innermost dictionary of nested ones; refuse it if it holds anything but tensors."""
    import torch

    while isinstance(tree, Mapping):
        wrapped = [tree[name] for name in _WRAPPERS if isinstance(tree.get(name), Mapping)]
        if not wrapped:
            break
        tree = wrapped[0]
    if not isinstance(tree, Mapping) or not tree:
        raise _unsupported(model, f" holds a {type(tree).__name__}, not named tensors")
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise _unsupported(
                model,
                f": {name!r} is a {type(value).__name__}; named tensors are expected, alone or under "
                f"one of {', '.join(map(repr, _WRAPPERS))}",
                key=str(name),
            )
    return {
        name: value.detach() if value.layout == torch.strided else value.to_dense()
        for name, value in tree.items()
    }


def _rename(
    shapes: Shapes,
    dtypes: Mapping[str, str],
    read: Callable[[str], "torch.Tensor"],
    model: str,
) -> TensorSource:
    names, leftovers = _shorten(shapes, model)
    codes_of_torch = {f"torch.{name}": code for name, code in DTYPES.items()}
    codes = {name: codes_of_torch.get(kind, kind) for name, kind in dtypes.items()}
    for short, name in names.items():
        if codes[name] not in DTYPES.values():
            raise InvalidCheckpointError(
                f"{model!r}: {short!r} is {dtypes[name]}; {', '.join(DTYPES)} can be imported. Use the "
                "published checkpoint, not a quantised one.",
                file=model,
                key=short,
                reason="unsupported",
            )
    return TensorSource(
        {short: shapes[name] for short, name in names.items()},
        {short: codes[name] for short, name in names.items()},
        lambda short: read(names[short]),
        leftovers,
    )


def _shorten(names: Iterable[str], model: str) -> tuple[dict[str, str], dict[str, str]]:
    """Map short tensor names to the names in the file; also map the unused tensors to reasons."""
    short = {name: name for name in names}
    leftovers: dict[str, str] = {}
    for _ in range(8):  # prefixes may be nested
        if any(name.startswith("backbone.") for name in short):
            heads = {name for name in short if _HEADS.match(name)}
            leftovers |= {short[name]: _HEADS_REASON for name in heads}
            short = {name: full for name, full in short.items() if name not in heads}
        prefix = next((p for p in _PREFIXES if all(n.startswith(p) for n in short)), None)
        if prefix is None or not short:
            break
        short = {name.removeprefix(prefix): full for name, full in short.items()}
    flat = {_CHUNKED.sub(r"blocks.\1.", name): full for name, full in short.items()}
    if len(flat) != len(short):
        raise InvalidCheckpointError(
            f"{model!r}: several transformer blocks have the same number. Fetch or copy it again.",
            file=model,
            key="blocks",
            reason="mismatch",
        )
    return flat, leftovers
