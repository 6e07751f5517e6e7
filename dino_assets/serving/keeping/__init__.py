"""Stored embeddings: the file, its sidecar (without it the file does not count), and audit records."""
