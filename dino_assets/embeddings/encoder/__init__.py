"""Encoders: they compute embeddings of tiles with one of several engines, from transformers' weights."""
