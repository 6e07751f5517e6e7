"""The warning about a picture that is left out, shown at the line that called this package."""

import inspect
import warnings

from dino_assets.errors import UnusableImageError, UnusableImageWarning


def warn_left_out(image_id: str, refusal: UnusableImageError) -> None:
    """Warn that a picture is left out, and why."""
    warning = UnusableImageWarning(
        f"{image_id!r} is left out: {refusal}", image_id=image_id, reason=refusal.reason
    )
    # Shown every time, at the caller's line. By itself Python shows equal warnings of one line only once.
    frame = inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).startswith("dino_assets."):
        frame = frame.f_back
    file, line = (frame.f_code.co_filename, frame.f_lineno) if frame else (__file__, 1)
    warnings.warn_explicit(warning, type(warning), file, line, registry={})
