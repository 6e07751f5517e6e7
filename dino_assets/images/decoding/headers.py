"""What a file says of its picture before a pixel is decoded."""

from dataclasses import dataclass

from dino_assets.images.decoding.tiff import TiffPage

TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before a pixel is decoded; sizes as stored."""

    format: str
    mode: str
    width: int
    height: int
    orientation: int = 1
    note: str | None = None
    is_turned: bool = False  # the decoder turns it upright itself
    tiff: TiffPage | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        size = self.width, self.height
        return size[::-1] if self.orientation in TURNED else size
