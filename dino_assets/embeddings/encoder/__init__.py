"""From tiles to embeddings: our own preprocessing, transformers' own weights, one of several engines."""
