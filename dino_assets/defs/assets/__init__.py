"""Dagster assets. Each calls a function of a stage and returns a draft: an output to be committed.

The IO manager commits it.
"""
