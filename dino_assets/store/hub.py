"""From a model's name to a checkpoint directory on this machine."""

from pathlib import Path

from dino_assets.errors import CheckpointNotFoundError

WANTED_FILES = ("*.safetensors", "*.json", "README.md", "LICENSE*")


def find_checkpoint(model: str, *, root: Path, may_download: bool = True) -> Path:
    """The directory of a checkpoint: ``model`` itself if it is one, else from the Hub or its cache.

    Raises:
        CheckpointNotFoundError: it is no directory and cannot be had from the Hub.
    """
    folder = (root / Path(model).expanduser()).resolve()
    if folder.is_dir():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise CheckpointNotFoundError(
            f"there is no checkpoint directory {model!r}. Name a directory with config.json, "
            "preprocessor_config.json and model.safetensors, or a Hub repository such as "
            "facebook/dinov2-base, in DINO_MODEL_ID."
        )
    return _from_hub(model, may_download=may_download)


def _from_hub(model: str, *, may_download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                model, allow_patterns=list(WANTED_FILES), local_files_only=not may_download
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as err:
        raise CheckpointNotFoundError(
            f"{model!r} is neither a directory here nor "
            f"{'to be had from the Hugging Face Hub' if may_download else 'in the Hub cache'} "
            f"({type(err).__name__}). Two ways out: connect to the network (or point HF_ENDPOINT at a "
            "mirror) and run again; or copy the checkpoint's files into a folder and set DINO_MODEL_ID "
            "to that folder."
        ) from None  # the client's own chain is four screens of sockets
