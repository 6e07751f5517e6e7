"""The assets. Each calls a stage and returns its draft."""
