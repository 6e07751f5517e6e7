"""How it is computed: plain functions on records, arrays and local files."""
