"""A second read of bytes that differ from what was committed: a bit may have flipped in transit only."""

import logging
from collections.abc import Callable
from typing import TypeVar

from dino_assets.errors import CorruptObjectError

log = logging.getLogger(__name__)
T = TypeVar("T")


def read_again(read: Callable[[], T]) -> T:
    """Call ``read``, and call it again if the bytes are wrong.

    Raises:
        CorruptObjectError: both reads are wrong; ``is_steady`` if both gave the same bytes.
    """
    try:
        return read()
    except CorruptObjectError as err:
        if err.is_gone:
            raise
        first = err
    log.warning("%s Reading it again", first)
    try:
        return read()
    except CorruptObjectError as second:
        second.is_steady = second.sha256 == first.sha256
        raise
