"""Projections: a map of the embedded tiles."""
