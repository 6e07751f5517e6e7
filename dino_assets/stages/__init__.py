"""Joins computing and storing, without Dagster: read, compute, put parts, resume."""
