"""Holding anybody's model file against the float32 reference, and naming what is wrong with it."""
