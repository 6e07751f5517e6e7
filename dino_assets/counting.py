"""Counts with their nouns, as sentences have them."""


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Give a number with its noun: ``1 tile``, ``2,000 tiles``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
