"""Report on a drop: one HTML page that opens from disk, and a picture of its footprints."""

from dino_assets.images.report.footprints import draw_footprints, draw_ground
from dino_assets.images.report.page import make_drop_page

__all__ = ["draw_footprints", "draw_ground", "make_drop_page"]
