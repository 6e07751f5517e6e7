"""Numerics on arrays: exact neighbours, k-means, farthest points, distances on the Earth."""
