"""Probes: small models that are trained on labelled embeddings, and their predictions for all tiles."""
