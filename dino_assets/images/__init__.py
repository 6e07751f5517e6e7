"""Images of a drop: decoded, scored, placed on the ground, reported on."""
