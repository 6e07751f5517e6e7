"""Errors by what they carry for programs: a type and its attributes."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def raises_with(
    kind: type[BaseException], **attributes: object
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Expect an error of a kind whose attributes have these values."""
    with pytest.raises(kind) as caught:
        yield caught
    assert {name: getattr(caught.value, name) for name in attributes} == attributes
