"""The Python API: classes and functions for notebooks and scripts, without Dagster."""
