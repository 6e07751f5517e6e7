"""Tiles: square windows of images, the input of the model."""
