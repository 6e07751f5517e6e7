"""Demo: two drawn flights processed through the whole lineage."""
