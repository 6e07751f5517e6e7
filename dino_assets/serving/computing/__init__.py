"""Computation of uploads: engines, decoding, scheduling of tiles, buffers for tokens."""
