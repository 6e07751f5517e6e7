"""How Dagster sees the lineage: assets, checks, resources, jobs, sensors, schedules."""
