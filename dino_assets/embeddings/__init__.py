"""Embeddings: one vector per tile, computed once."""
