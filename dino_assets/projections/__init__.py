"""Projections: a two-dimensional map of all embedded tiles."""
