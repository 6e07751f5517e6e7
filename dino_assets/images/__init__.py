"""Images of a drop: decoding, quality scores, ground positions, and the drop's report."""
