"""Readings of a model's outputs: which tokens an output holds, and in which order.

A reading computes from the reference's tokens what an output with this content should be. Readings without
a fault are right. Readings with a fault are common mistakes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from dino_assets.embeddings.checking.faults import (
    CLS_NOT_SKIPPED,
    POOLED,
    REGISTERS_NOT_SKIPPED,
    TRANSPOSED,
    Fault,
)
from dino_assets.embeddings.encoder.tokens import Tokens, Vectors

Grid = tuple[int, int]
# An output whose name contains one of these words is expected to be the mean over patches, otherwise CLS.
_NAMES_OF_MEANS = ("mean", "avg", "average", "pooled_patches")


@dataclass(frozen=True)
class OutputReading:
    """A possible content of an output: its description, and the function that makes it from tokens."""

    words: str
    make: Callable[[Tokens], Vectors]
    fault: Fault | None = None


def list_readings(
    name: str, shape: tuple[int, ...], *, tokens: Tokens, grid: Grid
) -> Iterator[OutputReading]:
    """List readings for an output of this name and shape, the expected one first; none if no reading fits."""
    dim = tokens["cls"].shape[-1]
    registers = tokens["registers"].shape[1]
    patches = grid[0] * grid[1]
    match shape[1:]:
        case (length,) if length == dim:
            yield from _list_vectors(name, registers=registers)
        case (length,) if length == 2 * dim:
            yield OutputReading("CLS and mean over patches", lambda t: t.pool("cls+mean"))
        case (count, size) if size == dim:
            yield from _list_sequences(count, registers=registers, patches=patches, grid=grid)
        case (size, *sides) if size == dim and tuple(sides) == grid:
            yield from _list_maps(grid, is_channel_first=True)
        case (*sides, size) if size == dim and tuple(sides) == grid:
            yield from _list_maps(grid, is_channel_first=False)


def _list_vectors(name: str, *, registers: int) -> Iterator[OutputReading]:
    is_mean = any(word in name.lower() for word in _NAMES_OF_MEANS)
    right, wrong = ("mean over patches", "CLS") if is_mean else ("CLS", "mean over patches")
    make = {"CLS": lambda t: t["cls"], "mean over patches": lambda t: t["mean"]}
    yield OutputReading(right, make[right])
    yield OutputReading(f"{right}, at length one", lambda t: _scale(make[right](t)))
    yield OutputReading(wrong, make[wrong], POOLED)
    yield OutputReading(f"{wrong}, at length one", lambda t: _scale(make[wrong](t)), POOLED)
    pools: dict[str, tuple[Callable[[Tokens], Vectors], Fault]] = {
        "mean over all tokens": (lambda t: _whole(t).mean(axis=1), POOLED),
        "mean over registers and patches": (
            lambda t: _whole(t)[:, 1:].mean(axis=1),
            REGISTERS_NOT_SKIPPED,
        ),
        "largest over patches": (lambda t: t["patches"].max(axis=1), POOLED),
        "the first patch": (lambda t: t["patches"][:, 0], POOLED),
        "the last patch": (lambda t: t["patches"][:, -1], POOLED),
        "the first token after CLS": (lambda t: _whole(t)[:, 1], POOLED),
    }
    if not registers:
        del pools["mean over registers and patches"]
    for words, (pool, fault) in pools.items():
        yield OutputReading(words, pool, fault)
        yield OutputReading(f"{words}, at length one", partial(_make_scaled, pool), fault)


def _list_sequences(
    count: int, *, registers: int, patches: int, grid: Grid
) -> Iterator[OutputReading]:
    right = {
        1 + registers + patches: (
            "CLS, registers, patches" if registers else "CLS, patches",
            _whole,
        ),
        1 + patches: ("CLS, patches", _without_registers),
        patches: ("patches", lambda t: t["patches"]),
    }
    if count in right:
        words, make = right[count]
        yield OutputReading(words, make)
        turned = partial(_turn_grid, make, grid, patches)
        yield OutputReading(f"{words}, column by column", turned, TRANSPOSED)
    if registers and count == registers + patches:
        yield OutputReading("registers, patches", lambda t: _whole(t)[:, 1:], REGISTERS_NOT_SKIPPED)
    if registers and count == 1 + patches:
        yield OutputReading(
            "CLS, registers, patches but the last",
            lambda t: _whole(t)[:, :count],
            REGISTERS_NOT_SKIPPED,
        )
    if count == patches:
        yield from _list_shifted(patches, registers=registers)


def _list_shifted(patches: int, *, registers: int) -> Iterator[OutputReading]:
    """List readings with the right number of patches that begin at the wrong token."""
    for first in range(registers + 1):
        fault = CLS_NOT_SKIPPED if first == 0 else REGISTERS_NOT_SKIPPED
        yield OutputReading(
            f"tokens from the {first + 1}. on", partial(_cut, first=first, count=patches), fault
        )


def _list_maps(grid: Grid, *, is_channel_first: bool) -> Iterator[OutputReading]:
    def lay_out(patches: Vectors) -> Vectors:
        as_map = patches.reshape(len(patches), *grid, -1)
        return as_map.transpose(0, 3, 1, 2) if is_channel_first else as_map

    count = grid[0] * grid[1]
    yield OutputReading("patches as a map", lambda t: lay_out(t["patches"]))
    yield OutputReading(
        "patches as a map, column by column",
        lambda t: lay_out(_turn_grid(lambda t: t["patches"], grid, count, t)),
        TRANSPOSED,
    )
    yield OutputReading(
        "tokens from the second on as a map",
        lambda t: lay_out(_cut(t, first=1, count=count)),
        REGISTERS_NOT_SKIPPED,
    )


def _whole(tokens: Tokens) -> Vectors:
    return np.concatenate([tokens["cls"][:, None], tokens["registers"], tokens["patches"]], axis=1)


def _without_registers(tokens: Tokens) -> Vectors:
    return np.concatenate([tokens["cls"][:, None], tokens["patches"]], axis=1)


def _cut(tokens: Tokens, *, first: int, count: int) -> Vectors:
    return _whole(tokens)[:, first : first + count]


def _turn_grid(
    make: Callable[[Tokens], Vectors], grid: Grid, patches: int, tokens: Tokens
) -> Vectors:
    """Reorder the patches column by column."""
    sequence = make(tokens)
    ahead, rows = sequence[:, :-patches], sequence[:, -patches:]
    as_map = rows.reshape(len(rows), *grid, -1).transpose(0, 2, 1, 3)
    return np.concatenate([ahead, as_map.reshape(rows.shape)], axis=1)


def _make_scaled(make: Callable[[Tokens], Vectors], tokens: Tokens) -> Vectors:
    return _scale(make(tokens))


def _scale(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, 1e-30)
    return scaled
