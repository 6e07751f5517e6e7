"""Drops: images that arrived together, from where they lie to what is made of them."""
