"""Stage *images*: its draft, its checks, and footprint files."""
