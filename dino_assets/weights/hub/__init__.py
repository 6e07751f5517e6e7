"""The Hugging Face Hub: asked, fetched from, verified, and what of it is on this machine."""
