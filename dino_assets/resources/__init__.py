"""How Dagster reaches the world: config shells around plain functions."""
