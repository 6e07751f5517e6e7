"""Selections: the few tiles worth labelling, round by round."""
