"""List of known faults of model files: stable name, sentence and advice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A known fault of model files.

    An approximation counts as a fault only if the outputs are outside of the limits of half precision.
    """

    name: str
    sentence: str
    advice: str
    is_approximation: bool = False


@dataclass(frozen=True)
class NamedFault:
    """A fault with its details, for example ``1e-05 instead of 1e-06``."""

    fault: Fault
    words: str = ""

    def __str__(self) -> str:
        """A phrase, for example ``LayerNorm has a wrong epsilon (1e-05 instead of 1e-06)``."""
        return f"{self.fault.sentence} ({self.words})" if self.words else self.fault.sentence


_STATISTICS = "Normalise by (x / 255 − mean) / std with the checkpoint's own statistics."
_POSITIONS = (
    "Export at the side that you use, with the positions of that side as constants; or interpolate as "
    "transformers does."
)
_ROPE = "Rotate patch tokens only: x·cos + cat(−second half, first half)·sin, angles by row, then by column."

MEAN_AND_STD_SWAPPED = Fault("statistics-swapped", "mean and std are swapped", _STATISTICS)
RANGE = Fault(
    "pixel-range", "pixels are in the wrong range when mean and std are applied", _STATISTICS
)
OTHER_STATISTICS = Fault(
    "statistics-other", "pixels are normalised with the statistics of another model", _STATISTICS
)
BGR = Fault(
    "bgr", "channels are read blue first", "Give RGB; cv2.imread gives BGR: reverse the last axis."
)
TRANSPOSED = Fault(
    "tiles-transposed",
    "rows and columns are swapped",
    "Pictures are (height, width): PIL's size and cv2's dsize are (width, height).",
)
MISREAD_LAYOUT = Fault(
    "layout-misread",
    "channels-last pixels are read as channels-first",
    "Transpose (H, W, 3) to (3, H, W); a reshape mixes the channels.",
)
UPSIDE_DOWN = Fault(
    "upside-down",
    "pictures are upside down",
    "Give the first row first; OpenGL and BMP begin with the last row.",
)
MIRRORED = Fault("mirrored", "pictures are mirrored", "Give each row from its left end.")

POOLED = Fault(
    "pooled-not-cls",
    "the vector is pooled from the wrong tokens",
    "Take last_hidden_state[:, 0], after the final norm; for a mean, "
    "last_hidden_state[:, 1 + registers:].mean(1), and call the output mean.",
)
REGISTERS_NOT_SKIPPED = Fault(
    "registers-not-skipped",
    "register tokens are among the patches",
    "Patches are last_hidden_state[:, 1 + num_register_tokens:].",
)
REGISTERS_ABSENT = Fault(
    "registers-absent",
    "the network is computed without its register tokens",
    "Name the number of registers num_register_tokens in config.json; transformers ignores any other name.",
)
CLS_NOT_SKIPPED = Fault(
    "cls-not-skipped",
    "the CLS token is among the patches",
    "Patches are last_hidden_state[:, 1 + num_register_tokens:].",
)
EPSILON = Fault(
    "layernorm-epsilon",
    "LayerNorm has a wrong epsilon",
    "Take layer_norm_eps of config.json; PyTorch's default is 1e-5, DINOv2's is 1e-6.",
)
ROPE_HALVES = Fault("rope-halves-swapped", "the halves that RoPE rotates are swapped", _ROPE)
ROPE_AXES = Fault("rope-axes-swapped", "RoPE's rows and columns are swapped", _ROPE)
ROPE_PAIRS = Fault(
    "rope-interleaved", "RoPE rotates neighbouring channels instead of halves", _ROPE
)
ROPE_PLACES = Fault("rope-positions", "RoPE has wrong positions or a wrong base", _ROPE)
ROPE_ABSENT = Fault("rope-absent", "RoPE is not applied", _ROPE)
INTERPOLATION = Fault(
    "positions-interpolated", "position embeddings are interpolated in a wrong way", _POSITIONS
)
POSITIONS_TURNED = Fault(
    "positions-transposed", "position embeddings are laid out column by column", _POSITIONS
)
POSITIONS_ABSENT = Fault("positions-absent", "position embeddings are not added", _POSITIONS)
LAYER_SCALE = Fault(
    "layer-scale-absent", "layer scale is not applied", "Multiply by lambda1 after each branch."
)
NORM_ABSENT = Fault(
    "final-norm-absent",
    "tokens are taken before the final norm",
    "Take last_hidden_state, not hidden_states[-1].",
)
BLOCK_ABSENT = Fault(
    "last-block-absent",
    "the last block is not computed",
    "Export as many blocks as config.json names.",
)
GELU = Fault(
    "gelu-approximated",
    "GELU is the tanh approximation",
    "Use the exact GELU (erf), or accept half precision.",
    is_approximation=True,
)
ATTENTION_UNSCALED = Fault(
    "attention-unscaled", "attention is not scaled", "Multiply by 1/sqrt(head dimension)."
)

OVERFLOW = Fault(
    "overflow",
    "numbers overflow",
    "Compute in float32; float16 ends at 65,504, so bfloat16 weights must not be cast to it.",
)
HALF_TOO_COARSE = Fault(
    "half-too-coarse",
    "half precision is too inaccurate for this network",
    "Keep norms, softmax and the residual sum in float32, or compute all in float32.",
)
INT8_COLLAPSE = Fault(
    "int8-collapse",
    "8-bit numbers lose the differences between tiles",
    "Do not quantise activations of a ViT per tensor; keep float, or quantise only weights, per channel.",
)
FIXED_SIDE = Fault(
    "side-not-dynamic",
    "height and width are declared dynamic, but the graph computes only one size",
    "Declare the fixed height and width, and export one file per size.",
)
OTHER_SHAPE = Fault(
    "other-shape",
    "no output has the shape of this checkpoint's tokens",
    "With --reference, name the checkpoint that the file was made from.",
)
OTHER_NETWORK = Fault(
    "unexplained",
    "the numbers differ, and no known fault explains it",
    "Most likely the file has other weights. With --reference, name the checkpoint that it was made from.",
)
