"""Importing checkpoints from files and folders of other layouts."""
