"""The demo: two drawn flights through the whole lineage."""
