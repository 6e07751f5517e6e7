"""Opening of a model file by its kind: ONNX, OpenVINO IR or Hugging Face folder."""

from pathlib import Path

from dino_assets.embeddings.checking.candidates import Candidate
from dino_assets.errors import InvalidModelFileError

_ENDINGS = "an .onnx file, an OpenVINO .xml, or a Hugging Face folder with config.json"


def is_checkpoint(path: Path) -> bool:
    """Check whether a folder is a Hugging Face checkpoint: config.json and safetensors.

    An ONNX export has config.json, too, but no safetensors.
    """
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def open_candidate(path: Path, *, threads: int) -> Candidate:
    """Open an ONNX file, an OpenVINO IR or a Hugging Face folder as a model to check.

    Of any other folder, open its only .onnx or .xml file.

    Raises:
        InvalidModelFileError: the path is not a model of these kinds, or cannot be opened.
        InvalidCheckpointError: the folder is not a DINO model.
        MissingExtraError: ONNX Runtime is not installed.
    """
    if path.is_dir():
        if is_checkpoint(path):
            from dino_assets.embeddings.checking.hugging_face import HuggingFaceCandidate

            return HuggingFaceCandidate(path)
        files = sorted(each for each in path.iterdir() if each.suffix.lower() in (".onnx", ".xml"))
        if len(files) != 1:
            names = ", ".join(each.name for each in files) or "none"
            raise InvalidModelFileError(
                f"folder {path.name} must contain exactly one .onnx or .xml file, but contains: {names}. "
                f"Give {_ENDINGS} and safetensors",
                file=path.name,
            )
        return open_candidate(files[0], threads=threads)
    if not path.is_file():
        raise InvalidModelFileError(f"{path.name} does not exist; give {_ENDINGS}", file=path.name)
    match path.suffix.lower():
        case ".onnx":
            from dino_assets.embeddings.checking.onnx_file import OnnxCandidate

            return OnnxCandidate(path, threads=threads)
        case ".xml":
            from dino_assets.embeddings.checking.openvino_file import OpenVinoCandidate

            return OpenVinoCandidate(path, threads=threads)
    raise InvalidModelFileError(f"{path.name} is not a model file; give {_ENDINGS}", file=path.name)
