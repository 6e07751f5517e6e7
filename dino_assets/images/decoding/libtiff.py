"""What libtiff complains of while Pillow reads a picture.

It writes to the console, without the name of a file, and often goes on with what it has: so a handler of
our own listens, by thread. Pillow has no way to set one, so it is set in the library that Pillow loaded;
where that cannot be found, nothing is heard.
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
_heard = threading.local()


@contextmanager
def hear_libtiff() -> Iterator[list[str]]:
    """Collect what libtiff calls an error in this thread; its warnings Pillow switches off."""
    _install_handler()
    complaints: list[str] = []
    _heard.complaints = complaints
    try:
        yield complaints
    finally:
        _heard.complaints = None


@cache
def _install_handler() -> Any:
    """Set the handler, once; what is returned must live as long as the library."""
    try:
        # A symbol is looked up in what Pillow's own module loaded, bundled or of the system.
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler  # type: ignore[attr-defined]
        write_text = ctypes.CDLL(None).vsnprintf
    except (AttributeError, OSError, TypeError):
        return None
    write_text.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p)
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)

    def hear(module: bytes | None, form: bytes, values: int | None) -> None:
        complaints = getattr(_heard, "complaints", None)
        if complaints is None:  # somebody else's picture
            if previous:
                _HANDLER(previous)(module, form, values)
            return
        text = ctypes.create_string_buffer(_MAX_BYTES)
        write_text(text, _MAX_BYTES, form, values)
        complaint = text.value.decode("utf-8", "replace")
        name = (module or b"").decode("utf-8", "replace")
        # The name that Pillow gives to what it reads from memory says nothing.
        complaints.append(complaint if name in ("", "tempfile.tif") else f"{name}: {complaint}")

    handler = _HANDLER(hear)
    previous = set_handler(ctypes.cast(handler, ctypes.c_void_p))
    return handler
