"""Errors of libtiff while Pillow reads a picture, collected per thread.

libtiff prints errors to the console without a file name, and often continues. So this module installs an
error handler. Pillow cannot set a handler, so the handler is set in the library that Pillow loaded. If that
library is not found, no errors are collected.
"""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import Image

_MAX_BYTES = 300
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_collected = threading.local()


@contextmanager
def collect_libtiff_errors() -> Iterator[list[str]]:
    """Collect the errors that libtiff reports in this thread, in the list that the context returns.

    Warnings are not collected, because Pillow switches them off.
    """
    _install_handler()
    complaints: list[str] = []
    _collected.complaints = complaints
    try:
        yield complaints
    finally:
        _collected.complaints = None


@cache
def _install_handler() -> Any:
    """Install the handler once; the returned object must live as long as the library."""
    try:
        # Finds the symbol in the libtiff that Pillow's module loaded, bundled or from the system.
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler  # type: ignore[attr-defined]
        write_text = ctypes.CDLL(None).vsnprintf
    except (AttributeError, OSError, TypeError):
        return None
    write_text.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p)
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)

    def collect(module: bytes | None, form: bytes, values: int | None) -> None:
        complaints = getattr(_collected, "complaints", None)
        if complaints is None:  # a thread outside of collect_libtiff_errors
            if previous:
                _HANDLER(previous)(module, form, values)
            return
        text = ctypes.create_string_buffer(_MAX_BYTES)
        write_text(text, _MAX_BYTES, form, values)
        complaint = text.value.decode("utf-8", "replace")
        name = (module or b"").decode("utf-8", "replace")
        # Pillow's name for data in memory ("tempfile.tif") is left out.
        complaints.append(complaint if name in ("", "tempfile.tif") else f"{name}: {complaint}")

    handler = _HANDLER(collect)
    previous = set_handler(ctypes.cast(handler, ctypes.c_void_p))
    return handler
