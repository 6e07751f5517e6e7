"""Drops (images that arrived together): sources, arrivals, registration, changes and state."""
