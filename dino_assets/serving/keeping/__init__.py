"""What is kept: the file, its sidecar, which is the commit, and the audit records."""
