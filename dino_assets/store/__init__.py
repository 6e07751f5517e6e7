"""Object storage: one API for folders and buckets, the commit protocol, Parquet tables."""
