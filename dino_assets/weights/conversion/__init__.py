"""Conversion of timm's and Meta's checkpoints, tensor by tensor, to transformers' names."""
