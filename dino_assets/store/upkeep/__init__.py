"""Maintenance of a store: garbage collection, verification, repair."""
