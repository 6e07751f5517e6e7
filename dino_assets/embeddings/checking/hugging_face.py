"""Hugging Face folder as a model to check, computed by ``AutoModel`` with the folder's processor settings."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.checking.candidates import Candidate, InputForm, Run, first_line
from dino_assets.embeddings.encoder.tokens import hide_progress_bars
from dino_assets.errors import InvalidModelFileError
from dino_assets.weights.architecture import check_config, read_object
from dino_assets.weights.checkpoint import PREPROCESSOR, STATISTICS

_HALVES = ("float16", "bfloat16")


class HuggingFaceCandidate(Candidate):
    """A folder with config.json, weights and preprocessor_config.json."""

    kind = "Hugging Face folder"

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel

        check_config(folder, folder.name)
        self._factor, self._mean, self._std = _read_processor(folder)
        self.form = InputForm("pictures", "uint8", "NHWC", None, None, None)
        try:
            with hide_progress_bars():
                # Only safetensors: a pickle can run code.
                as_stored: Any = AutoModel.from_pretrained(
                    folder, local_files_only=True, use_safetensors=True, dtype="auto"
                )
        except Exception as err:
            raise InvalidModelFileError(
                f"{folder.name} cannot be opened by transformers: {first_line(err)}",
                file=folder.name,
            ) from err
        stored = str(as_stored.dtype).removeprefix("torch.")
        # Half-precision weights are exact in float32; only the computation differs.
        is_half = stored in _HALVES
        words = f"float32, weights in {stored}" if is_half else "float32"
        self._models = {Run(words, "half" if is_half else "fp32"): as_stored.eval()}
        if is_half:
            usual = Run(f"{stored}, as from_pretrained loads it", "half")
            self._models[usual] = deepcopy(as_stored)
            as_stored.float()
        self.runs = tuple(self._models)
        self._torch = torch

    def compute_batch(
        self, values: NDArray[np.generic], run: Run
    ) -> dict[str, NDArray[np.generic]]:
        """Compute one batch with transformers."""
        torch, model = self._torch, self._models[run]
        planes = torch.from_numpy(self._normalise(values)).to(model.dtype)
        with torch.inference_mode():
            answer = model(pixel_values=planes)
        return {"last_hidden_state": answer.last_hidden_state.float().numpy()}

    @property
    def has_open_sides(self) -> bool:
        """False: a folder declares no sizes, so a failure in transformers is not a fault of the file."""
        return False

    def _normalise(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Normalise pixels as the folder's processor does, without resizing."""
        planes = values.transpose(0, 3, 1, 2).astype(np.float32)
        normalised: NDArray[np.float32] = (planes * self._factor - self._mean) / self._std
        return normalised


def _read_processor(folder: Path) -> tuple[np.float32, NDArray[np.float32], NDArray[np.float32]]:
    """Read the factor, mean and std by which the folder's processor normalises pixels."""
    entries = read_object(folder / PREPROCESSOR, folder.name)
    mean, std = STATISTICS["imagenet"]
    if not entries.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    else:
        mean, std = entries.get("image_mean") or mean, entries.get("image_std") or std
    factor = entries.get("rescale_factor", 1 / 255) if entries.get("do_rescale", True) else 1
    try:
        middle, spread = (np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (mean, std))
        return np.float32(factor), middle, spread
    except (TypeError, ValueError) as err:
        raise InvalidModelFileError(
            f"{folder.name}: in {PREPROCESSOR}, rescale_factor is not a number, or image_mean or "
            f"image_std is not three numbers. Copy {PREPROCESSOR} again.",
            file=folder.name,
        ) from err
