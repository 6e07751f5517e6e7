"""Formats of labelling programs: encoding of a round for them, and parsing of the labels they give back."""
