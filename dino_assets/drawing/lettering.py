"""Text in pictures: colours, the font, shortening, wrapping, and encoding of the result."""

import io

from PIL import Image, ImageFont

INK, GREY, LINE, WHITE = (28, 32, 38), (95, 102, 112), (214, 218, 224), (255, 255, 255)
RED = (179, 38, 30)  # for warnings

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def load_font(size_px: int) -> Font:
    """Load Pillow's own font, so that every machine draws the same letters."""
    return ImageFont.load_default(size_px)


def make_printable(text: str) -> str:
    """Replace line ends and control characters by spaces: they would break the line or be drawn as boxes."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def shorten(text: str, font: Font, room_px: float) -> str:
    """Shorten a text that is wider than ``room_px``; an ellipsis marks its end."""
    text = make_printable(text)
    if font.getlength(text) <= room_px:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = font.getlength(text[:middle] + "…") <= room_px
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low] + "…"


def wrap(text: str, font: Font, room_px: float, *, max_lines: int) -> list[str]:
    """Split a text into at most ``max_lines`` lines of ``room_px``; line ends in the text are kept if they fit.

    What does not fit, such as a very long word or the end of a long text, is replaced by an ellipsis.
    """
    lines: list[str] = []
    for paragraph in text.strip().splitlines():
        words = make_printable(paragraph).split()
        line = ""
        for word in words:
            longer = f"{line} {word}" if line else word
            if line and font.getlength(longer) > room_px:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], " ".join(lines[max_lines - 1 :])]
    return [shorten(line, font, room_px) for line in lines]


def encode_picture(picture: Image.Image, form: str, **options: int | bool) -> bytes:
    """Encode a picture in one of Pillow's formats."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()
