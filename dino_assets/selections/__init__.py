"""Selections: rounds of tiles to label."""
