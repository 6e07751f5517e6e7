"""Embeddings: one vector per tile."""
