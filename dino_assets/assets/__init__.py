"""What exists. The only place with ``@asset``: call a stage, return its draft."""
