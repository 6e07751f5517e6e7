"""A second look at bytes that are not what was committed: a bit may flip on the way, and not where it lies."""

import logging
from collections.abc import Callable
from typing import TypeVar

from dino_assets.errors import CorruptObjectError

log = logging.getLogger(__name__)
T = TypeVar("T")


def read_again(read: Callable[[], T]) -> T:
    """Read, and once more where the bytes are wrong.

    Raises:
        CorruptObjectError: twice wrong; ``is_steady`` where both reads gave the same bytes.
    """
    try:
        return read()
    except CorruptObjectError as err:
        if err.is_gone:
            raise
        first = err
    log.warning("%s; it is read once more", first)
    try:
        return read()
    except CorruptObjectError as second:
        second.is_steady = second.sha256 == first.sha256
        raise
