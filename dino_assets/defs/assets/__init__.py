"""Assets: what exists. Each calls a stage and returns its draft."""
