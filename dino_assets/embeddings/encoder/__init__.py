"""Encoders: tiles to embeddings, by one of several engines with transformers' weights."""
