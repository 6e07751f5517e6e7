"""Reaching bytes: one object-store API, the commit protocol, Parquet tables."""
