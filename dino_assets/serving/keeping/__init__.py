"""Stored embeddings: the file, its sidecar (without it, the file is no embedding), and audit records."""
