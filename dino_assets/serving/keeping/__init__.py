"""Stored embeddings: the file, its sidecar (without it, the file is not an embedding), and audit records."""
