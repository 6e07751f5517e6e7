"""Checkpoints: the published ones, fetching, importing, validation, storage."""
