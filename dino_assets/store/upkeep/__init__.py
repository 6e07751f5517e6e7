"""Upkeep of a store: collecting garbage, verifying."""
