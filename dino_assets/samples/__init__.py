"""Small real things to try the lineage with; never read by the pipeline itself."""
