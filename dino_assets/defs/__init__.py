"""Dagster definitions of the lineage: assets, checks, resources, jobs, sensors, schedules."""
