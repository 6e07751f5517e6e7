"""The report on a drop as one HTML page that opens from the disk, and its footprints as a picture."""

from dino_assets.images.report.footprints import draw_footprints, draw_ground
from dino_assets.images.report.page import make_drop_page

__all__ = ["draw_footprints", "draw_ground", "make_drop_page"]
