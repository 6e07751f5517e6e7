"""Checkpoints: published, fetched, imported, validated, stored."""
