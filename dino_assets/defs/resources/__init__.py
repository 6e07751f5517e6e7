"""Dagster resources: each has config fields, and methods that call plain functions of other modules."""
