"""Stored embeddings: the file, its sidecar (the commit), and audit records."""
