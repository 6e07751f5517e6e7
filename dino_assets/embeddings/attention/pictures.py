"""Pictures of attention, heads, components and similarity, drawn as colours over the photograph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dino_assets.drawing.colour_scales import ColourScale, lay_over
from dino_assets.drawing.lettering import RED, WHITE
from dino_assets.drawing.panels import Panel, draw_panels
from dino_assets.embeddings.attention.components import Components
from dino_assets.embeddings.attention.grid import PatchGrid
from dino_assets.embeddings.attention.reader import Attention, check_index
from dino_assets.embeddings.encoder.tokens import Vectors
from dino_assets.weights.records import Checkpoint, spell_caveat

_PANEL_PX, _HEAD_PX, _COMPONENT_PX = 720, 320, 300
_OPEN_AT = 99.5  # percentile of the values that gets the brightest colour
_COLUMNS = 4
NO_DEBIAS = "the position bias is not subtracted: near patches may look alike because of their position alone"


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture (H, W, 3) with its name and the grid over it."""

    name: str
    pixels: NDArray[np.uint8]
    grid: PatchGrid

    def shrink(self, room_px: int) -> Image.Image:
        """Return the picture resized to at most ``room_px`` per side, at least one pixel per patch.

        Every patch becomes a square of whole pixels.
        """
        rows, columns = self.grid.rows, self.grid.columns
        cell = max(1, room_px // max(rows, columns))
        size = (columns * cell, rows * cell)
        return Image.fromarray(self.pixels).resize(size, Image.Resampling.LANCZOS)


def draw_attention(
    photo: Photo, attention: Attention, *, head: int | None, checkpoint: Checkpoint
) -> Image.Image:
    """Draw a photograph twice: plain, and under the attention of one head or the mean of all heads."""
    heads = len(attention.patches)
    which = f"mean of {heads} heads" if head is None else f"head {check_index('head', head, heads)}"
    values = attention.pick(head)
    scale = _scale_shares(values)
    picture = photo.shrink(_PANEL_PX)
    return draw_panels(
        [[Panel(picture, "photograph"), Panel(lay_over(picture, values, scale), which)]],
        title=f"{photo.name}: attention of CLS, {which}, {spell_layer(attention.layer, checkpoint)}",
        notes=[describe_model(photo.grid, checkpoint), _spell_division(attention.divide(head))],
        caveat=spell_caveat(checkpoint.caveat),
        scale=scale,
    )


def draw_heads(photo: Photo, attention: Attention, *, checkpoint: Checkpoint) -> Image.Image:
    """Draw the mean attention of all heads, then each head, all on one colour scale."""
    scale = _scale_shares(attention.patches)
    picture = photo.shrink(_HEAD_PX)
    mean = lay_over(picture, attention.pick(None), scale)
    panels = [Panel(mean, f"mean: {_spell_seen(attention, None)}")]
    for head, values in enumerate(attention.patches):
        caption = f"head {head}: {_spell_seen(attention, head)}"
        panels.append(Panel(lay_over(picture, values, scale), caption))
    return draw_panels(
        [panels[at : at + _COLUMNS] for at in range(0, len(panels), _COLUMNS)],
        title=f"{photo.name}: attention of CLS, every head, {spell_layer(attention.layer, checkpoint)}",
        notes=[describe_model(photo.grid, checkpoint), _spell_division(attention.divide(None))],
        caveat=spell_caveat(checkpoint.caveat),
        scale=scale,
    )


def draw_components(
    photos: Sequence[Photo], components: Components, *, layer: int, checkpoint: Checkpoint
) -> Image.Image:
    """Draw the first three components as red, green and blue, and each one alone on a colour scale."""
    scale = ColourScale(0, 1, "one component", spell=_spell_end, share=1)
    shares = [f"{share:.0%}" for share in components.shares]
    rows = []
    for photo, values, mask in zip(photos, components.maps, components.masks, strict=True):
        picture = photo.shrink(_COMPONENT_PX)
        colours = np.round(values * 255).astype(np.uint8)
        row = [Panel(picture, photo.name), Panel(_enlarge(colours, picture), "components 1, 2, 3")]
        for number, share in enumerate(shares):
            one = scale.colour(values[..., number])
            one[~mask] = WHITE
            row.append(Panel(_enlarge(one, picture), f"component {number + 1}: {share}"))
        rows.append(row)
    what = f"{len(photos)} pictures" if len(photos) > 1 else photos[0].name
    notes = [
        describe_model(photos[0].grid if len(photos) == 1 else None, checkpoint),
        f"red, green, blue: components 1, 2, 3, with {', '.join(shares)} of the variance"
        + (", on one basis for all pictures" if len(photos) > 1 else ""),
    ]
    if components.side:
        part = np.mean(np.concatenate([mask.ravel() for mask in components.masks]))
        notes.append(
            f"foreground: patches {components.side} the mean of the first component, {part:.0%} of all; "
            "the background is black, and white in the single components"
        )
    return draw_panels(
        rows,
        title=f"{what}: principal components of patch features, {spell_layer(layer, checkpoint)}",
        notes=notes,
        caveat=spell_caveat(checkpoint.caveat),
        scale=scale,
    )


def draw_similarity(
    photo: Photo,
    values: Vectors,
    *,
    patch: tuple[int, int],
    layer: int,
    debias: str | None,
    checkpoint: Checkpoint,
) -> Image.Image:
    """Draw the similarity of all patches to one of them, which is outlined."""
    row, column = patch
    left, top, right, bottom = photo.grid.find_box(row, column)
    scale = ColourScale(
        float(values.min()), 1, "cosine similarity to the outlined patch", spell="{:.2f}".format
    )
    picture = photo.shrink(_PANEL_PX)
    cell = picture.width // photo.grid.columns
    panels = []
    for drawn, caption in [
        (
            picture.copy(),
            f"patch row {row}, column {column}: x {left} to {right - 1}, y {top} to {bottom - 1}",
        ),
        (lay_over(picture, values, scale), "similarity"),
    ]:
        _outline(drawn, column * cell, row * cell, cell)
        panels.append(Panel(drawn, caption))
    return draw_panels(
        [panels],
        title=f"{photo.name}: where else is this? {spell_layer(layer, checkpoint)}",
        notes=[describe_model(photo.grid, checkpoint), spell_debias(debias)],
        caveat=spell_caveat(checkpoint.caveat),
        scale=scale,
    )


def spell_layer(layer: int, checkpoint: Checkpoint) -> str:
    """Describe a layer by its number and the number of layers."""
    return f"layer {layer} of 0 to {checkpoint.layers - 1}"


def spell_debias(debias: str | None) -> str:
    """Describe whether the position bias was subtracted, and on which pictures it was measured."""
    return (
        NO_DEBIAS if debias is None else f"the position bias is subtracted, as measured on {debias}"
    )


def describe_model(grid: PatchGrid | None, checkpoint: Checkpoint) -> str:
    """Describe the model, and the grid if there is one."""
    label = checkpoint.label
    if grid is None:
        return f"{label} · patches of {checkpoint.patch_px} px"
    width, height = grid.size
    return (
        f"{label} · {grid.columns} x {grid.rows} patches of {grid.patch_px} px: {grid.width} x "
        f"{grid.height} px seen as {width} x {height}"
    )


def _scale_shares(values: Vectors) -> ColourScale:
    """Make a colour scale from 0 to nearly the highest share; a single high patch must not dim the others."""
    high = float(np.percentile(values, _OPEN_AT))
    return ColourScale(
        0,
        high if high > 0 else 1,
        "share of the attention that one patch gets",
        spell=_spell_share,
        is_open=bool(values.max() > high > 0),
        mark=(float(values.mean()), f"{_spell_share(float(values.mean()))} on average"),
    )


def _spell_share(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share:.0%}".replace("%", " %")


def _spell_end(value: float) -> str:
    return {0.0: "lowest", 1.0: "highest"}.get(value, "")


def _spell_division(parts: dict[str, float]) -> str:
    registers = f"registers {_spell_share(parts['registers'])}, " if parts["registers"] else ""
    return (
        f"of all attention: patches {_spell_share(parts['patches'])}, {registers}CLS itself "
        f"{_spell_share(parts['cls'])} (only patches are drawn)"
    )


def _spell_seen(attention: Attention, head: int | None) -> str:
    return f"{_spell_share(attention.divide(head)['patches'])} on patches"


def _enlarge(colours: NDArray[np.uint8], picture: Image.Image) -> Image.Image:
    return Image.fromarray(colours).resize(picture.size, Image.Resampling.NEAREST)


def _outline(picture: Image.Image, left: int, top: int, cell: int) -> None:
    """Draw a red frame with a white border around a patch; it is visible on every colour of the scale."""
    draw = ImageDraw.Draw(picture)
    for reach, colour, width in [(3, WHITE, 1), (2, RED, 2)]:
        # At an edge of the picture the line is moved inside, so that it stays visible.
        first = max(left - reach, 0), max(top - reach, 0)
        last = (
            min(left + cell + reach, picture.width) - 1,
            min(top + cell + reach, picture.height) - 1,
        )
        draw.rectangle((*first, *last), outline=colour, width=width)
