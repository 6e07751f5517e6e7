"""Tiles: the square windows of images that the model sees."""
