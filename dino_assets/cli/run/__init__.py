"""``run``: drops through the lineage, as the named jobs of the UI."""
