"""Capture metadata: what cameras store with the pixels (EXIF, XMP, thumbnails, thermal data)."""
