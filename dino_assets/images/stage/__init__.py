"""Stage *images*: draft, checks and footprint files of the output."""
