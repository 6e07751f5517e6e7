"""An error asserted by its class and attributes; its sentence is asserted once, where it is written."""

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def raising(
    kind: type[BaseException], *, match: str | None = None, hides: str = "", **attributes: object
) -> Iterator[pytest.ExceptionInfo]:
    """Expect an error of a class that carries these attributes and does not show ``hides``."""
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert {name: getattr(caught.value, name) for name in attributes} == attributes
    if hides:
        assert hides not in str(caught.value)
