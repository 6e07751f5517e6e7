"""The source documents' Python names, without Dagster."""
