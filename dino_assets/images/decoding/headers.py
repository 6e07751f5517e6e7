"""Header of an image file: format, mode, size and orientation, read without decoding."""

from dataclasses import dataclass

from dino_assets.images.decoding.tiff import TiffPage

TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Header:
    """Properties of a picture that are read without decoding; sizes as stored."""

    format: str
    mode: str
    width: int
    height: int
    orientation: int = 1
    note: str | None = None
    is_turned: bool = False  # whether the decoder turns the picture upright itself
    tiff: TiffPage | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        size = self.width, self.height
        return size[::-1] if self.orientation in TURNED else size
