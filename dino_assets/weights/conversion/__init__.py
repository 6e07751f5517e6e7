"""Checkpoints of timm and of Meta, tensor by tensor, in the names that transformers has on disk."""
