"""Ground positions of pixels: camera model, GeoParquet, and registration of overlapping pictures."""
