"""Opening a model file by what it is."""

from pathlib import Path

from dino_assets.embeddings.checking.candidates import Candidate
from dino_assets.errors import InvalidModelFileError

_ENDINGS = "an .onnx file, an OpenVINO .xml, or a Hugging Face folder with config.json"


def is_checkpoint(path: Path) -> bool:
    """Tell a Hugging Face folder; exported graphs stand beside a config.json, too, but without weights."""
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def open_candidate(path: Path, *, threads: int) -> Candidate:
    """Open an ONNX file, an OpenVINO IR or a Hugging Face folder; of another folder, its one model file.

    Raises:
        InvalidModelFileError: it is none of them, or cannot be opened.
        InvalidCheckpointError: the folder is of no DINO model.
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
                f"{path.name} is a folder with several or no model files ({names}); name {_ENDINGS} and "
                "safetensors",
                file=path.name,
            )
        return open_candidate(files[0], threads=threads)
    if not path.is_file():
        raise InvalidModelFileError(f"there is no {path.name}; name {_ENDINGS}", file=path.name)
    match path.suffix.lower():
        case ".onnx":
            from dino_assets.embeddings.checking.onnx_file import OnnxCandidate

            return OnnxCandidate(path, threads=threads)
        case ".xml":
            from dino_assets.embeddings.checking.openvino_file import OpenVinoCandidate

            return OpenVinoCandidate(path, threads=threads)
    raise InvalidModelFileError(f"{path.name} is no model file; name {_ENDINGS}", file=path.name)
