"""Inboxes as they come: a folder, a CSV or text list, a bucket prefix."""
