"""Exact numerics on arrays: neighbours, k-means, farthest points; the Earth."""
