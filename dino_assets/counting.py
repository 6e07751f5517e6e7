"""Counts with singular or plural nouns, for messages."""


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun: ``1 tile``, ``2,000 tiles``.

    Without ``plural``, the plural is the noun with an ``s``.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
