"""Probes: small models over embeddings that are trained on labels, and what they say about all tiles."""
