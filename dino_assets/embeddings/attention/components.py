"""Principal components of patch features, of one or several pictures, as three colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dino_assets.embeddings.encoder.tokens import Vectors

Foreground = Literal["auto", "above", "below"]
COUNT = 3
# Percentiles that become 0 and 1. Otherwise a few patches with enormous features would dim all others. DINOv2
# without registers has such patches.
_TAILS = (1, 99)


@dataclass(frozen=True, eq=False)
class Components:
    """The first three components of each patch, scaled to 0…1 over all pictures, and the foreground masks."""

    maps: tuple[Vectors, ...]  # (rows, columns, 3) per picture; 0 in the background
    masks: tuple[NDArray[np.bool_], ...]  # (rows, columns) per picture: foreground
    shares: tuple[float, ...]  # of the variance, per component
    # Where the foreground is, relative to the first component's mean; None without a foreground.
    side: Literal["above", "below"] | None


def find_components(
    features: Sequence[Vectors], *, foreground: Foreground | None = None
) -> Components:
    """Find the first three principal components of features (rows, columns, D), one basis for all pictures.

    Without ``foreground``, all patches are used. With it, foreground and background are separated as in the
    DINOv2 paper. Patches on one side of the first component's mean are the foreground, and the components
    are computed from the foreground only.

    The sign of a component is arbitrary, so the foreground's side must be chosen: ``above`` or ``below`` the
    mean. ``auto`` takes the side that has a smaller share of its patches along the edges of the pictures.
    """
    shapes = [each.shape[:2] for each in features]
    vectors = np.concatenate([each.reshape(-1, each.shape[-1]) for each in features])
    mask = np.ones(len(vectors), bool)
    side: Literal["above", "below"] | None = None
    if foreground is not None:
        axes, _ = _find_axes(vectors)
        is_above = (vectors - vectors.mean(axis=0)) @ axes[0] > 0
        edge = np.concatenate([_mark_edge(shape) for shape in shapes])
        side = _choose_side(is_above, edge) if foreground == "auto" else foreground
        mask = is_above if side == "above" else ~is_above
    colours = np.zeros((len(vectors), COUNT), np.float32)
    shares: tuple[float, ...] = (0.0,) * COUNT
    if mask.any():
        chosen = vectors[mask]
        axes, shares = _find_axes(chosen)
        colours[mask] = _stretch((chosen - chosen.mean(axis=0)) @ axes.T)
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    return Components(
        maps=tuple(
            part.reshape(*shape, COUNT)
            for part, shape in zip(np.split(colours, ends), shapes, strict=True)
        ),
        masks=tuple(
            part.reshape(shape) for part, shape in zip(np.split(mask, ends), shapes, strict=True)
        ),
        shares=shares,
        side=side,
    )


def _find_axes(vectors: Vectors) -> tuple[Vectors, tuple[float, ...]]:
    """Find the three axes (3, D) with the most variance, and the share of the variance along each.

    If the vectors have fewer than three dimensions, the missing axes and shares are zeros.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    variances, axes = variances[::-1][:COUNT], axes.T[::-1][:COUNT]
    # The library's signs are arbitrary. Make the largest entry positive, so that results are reproducible.
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]
    total = float((centred**2).sum())
    shares = [float(each) / total if total > 0 else 0.0 for each in variances]
    missing = COUNT - len(shares)
    axes = np.pad(axes, ((0, missing), (0, 0)))
    return axes.astype(np.float32), tuple(max(0.0, each) for each in shares) + (0.0,) * missing


def _stretch(scores: Vectors) -> NDArray[np.float32]:
    """Scale each column to 0…1; a constant column becomes 0.5."""
    low, high = np.percentile(scores, _TAILS, axis=0)
    span = high - low
    is_flat = span <= 1e-6 * np.maximum(np.abs(low), np.abs(high))
    stretched = (scores - low) / np.where(is_flat, 1, span)
    return np.where(is_flat, 0.5, np.clip(stretched, 0, 1)).astype(np.float32)


def _mark_edge(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mark the patches along the edges of a picture, row by row."""
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    return edge.ravel()


def _choose_side(is_above: NDArray[np.bool_], edge: NDArray[np.bool_]) -> Literal["above", "below"]:
    """Choose the side with the smaller share of its patches along the edges."""
    shares = [edge[side].mean() if side.any() else 1.0 for side in (is_above, ~is_above)]
    return "above" if shares[0] <= shares[1] else "below"
