"""Checkpoints from the Hugging Face Hub: listings, verified transfer, local cache and folders."""
