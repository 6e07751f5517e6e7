"""Common interface of the model files that are checked: pixels in, named arrays out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dino_assets.errors import InvalidModelFileError

Numerics = Literal["fp32", "half", "int8"]
Layout = Literal["NCHW", "NHWC"]
Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class InputForm:
    """The input that a model file declares; a dynamic size is None."""

    name: str
    dtype: Literal["uint8", "float32", "float16"]
    layout: Layout
    batch: int | None
    height: int | None
    width: int | None

    @property
    def takes_bytes(self) -> bool:
        """Whether the input is raw pixels, which the model normalises itself."""
        return self.dtype == "uint8"

    def __str__(self) -> str:
        """The input as a phrase, for example ``pixel_values float32 (N, 3, 518, 518)``."""
        height, width = (side or letter for side, letter in ((self.height, "H"), (self.width, "W")))
        inner = (3, height, width) if self.layout == "NCHW" else (height, width, 3)
        sizes = ", ".join(str(size) for size in (self.batch or "N", *inner))
        return f"{self.name} {self.dtype} ({sizes})"


@dataclass(frozen=True)
class Run:
    """A way to compute a model, for example in bfloat16."""

    words: str  # for people
    numerics: Numerics  # decides which limits apply


class Candidate(ABC):
    """A model file to check."""

    kind: str  # for example "ONNX"
    form: InputForm
    # The first run is the most exact one, for finding mistakes in how the model is built. The others
    # compute as the model is normally used.
    runs: tuple[Run, ...]

    def compute(self, pixels: NDArray[np.generic], run: Run) -> Arrays:
        """Compute the outputs, by name, for any number of pictures.

        ``pixels`` are (N, H, W, 3) for a model that takes bytes, otherwise (N, 3, H, W). Batches have the
        size that the file declares, or one picture if this size is dynamic.
        """
        is_last = self.form.layout == "NHWC"
        if is_last != (pixels.shape[-1] == 3):
            pixels = pixels.transpose(0, 2, 3, 1) if is_last else pixels.transpose(0, 3, 1, 2)
        batch = self.form.batch or 1
        answers: list[Arrays] = []
        for first in range(0, len(pixels), batch):
            piece = pixels[first : first + batch]
            count = len(piece)
            if count < batch:
                piece = np.concatenate([piece, np.repeat(piece[-1:], batch - count, axis=0)])
            values = np.ascontiguousarray(piece, dtype=self.form.dtype)
            outputs = self.compute_batch(values, run)
            answers.append(
                {name: array[:count].astype(np.float32) for name, array in outputs.items()}
            )
        return {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}

    @property
    def has_open_sides(self) -> bool:
        """Whether height or width is dynamic; if so, a failure at some size is a fault of the file."""
        return self.form.height is None or self.form.width is None

    @abstractmethod
    def compute_batch(
        self, values: NDArray[np.generic], run: Run
    ) -> dict[str, NDArray[np.generic]]:
        """Compute the outputs, by name, for exactly one batch in the declared input form."""


def first_line(err: Exception) -> str:
    """Shorten a library's error message to its first line."""
    return str(err).strip().partition("\n")[0][:200]


def form_input(file: str, inputs: list[tuple[str, str, list[object]]]) -> InputForm:
    """Derive the input form from a graph's inputs, each (name, type, shape).

    Raises:
        InvalidModelFileError: the graph's input is not one batch of colour pictures.
    """
    pictures = [each for each in inputs if len(each[2]) == 4 and 3 in (each[2][1], each[2][3])]
    if len(inputs) != 1 or not pictures or pictures[0][1] not in ("uint8", "float32", "float16"):
        listed = "; ".join(f"{name} {kind} {shape}" for name, kind, shape in inputs)
        raise InvalidModelFileError(
            f"{file} has the inputs {listed or 'none'}; one input is expected: pictures as float32, "
            "float16 or uint8 of the shape (N, 3, H, W) or (N, H, W, 3)",
            file=file,
        )
    name, kind, shape = pictures[0]
    sizes = [size if isinstance(size, int) and size > 0 else None for size in shape]
    is_first = sizes[1] == 3
    height, width = sizes[2:] if is_first else sizes[1:3]
    layout: Layout = "NCHW" if is_first else "NHWC"
    return InputForm(name, kind, layout, sizes[0], height, width)  # type: ignore[arg-type]
