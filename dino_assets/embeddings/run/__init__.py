"""Shards of a drop, and what is said while they are computed."""
