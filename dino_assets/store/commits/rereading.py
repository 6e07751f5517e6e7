"""A second read of damaged bytes: they may be right in the store, and have changed only on the way."""

import logging
from collections.abc import Callable
from typing import TypeVar

from dino_assets.errors import CorruptObjectError

log = logging.getLogger(__name__)
T = TypeVar("T")


def read_again(read: Callable[[], T]) -> T:
    """Call ``read``, and call it a second time if it finds wrong bytes.

    A missing object is not read a second time.

    Raises:
        CorruptObjectError: the object is missing, or both reads found wrong bytes. The error's ``is_steady``
            says whether both reads found the same bytes.
    """
    try:
        return read()
    except CorruptObjectError as err:
        if err.is_gone:
            raise
        first = err
    log.warning("%s Reading it again.", first)
    try:
        return read()
    except CorruptObjectError as second:
        second.is_steady = second.sha256 == first.sha256
        raise
