"""Dagster assets. Each calls a function of a stage, and returns the draft that the IO manager commits."""
