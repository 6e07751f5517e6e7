"""Names of drops and files in characters that every file system, shell and partition key accepts."""

import hashlib
import re
import unicodedata
from collections.abc import Collection

from anyascii import anyascii

from dino_assets.errors import InvalidDropNameError

MAX_NAME_CHARS = 80
# Neither `..` nor a dot at the end: Dagster writes a range of partitions as `first...last`.
_NAME = re.compile(r"[A-Za-z0-9](\.?[A-Za-z0-9_-])*")
# German ASCII spelling of umlauts; anyascii would only drop the dots.
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})
END_CHARS = 9  # a dash and 8 hexadecimal digits of a hash
_MAX_SLUG_CHARS = MAX_NAME_CHARS - END_CHARS


def spell_in_ascii(text: str, most: int = _MAX_SLUG_CHARS) -> str:
    """Spell a text in ASCII letters, digits and ``._-``: ``Überflug Süd`` is ``Ueberflug-Sued``.

    The result is empty if no character can be spelled.
    """
    plain = anyascii(unicodedata.normalize("NFC", text).translate(_GERMAN))
    dashed = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    return re.sub(r"\.{2,}", ".", dashed).strip("._-")[:most].strip("._-")


def make_drop_name(original: str) -> str:
    """Make a drop's name, which is also its partition key in Dagster, from the name of its folder.

    A folder's name that is valid stays unchanged. Any other becomes its ASCII spelling, a dash and 8
    hexadecimal digits of its hash.

    Raises:
        InvalidDropNameError: the folder's name has no letter or digit, or is a path.
    """
    if "/" in original or "\\" in original or original in (".", ".."):
        raise InvalidDropNameError(
            f"{original!r} cannot be a drop's name, because it is a path. Give a name such as flight-07, "
            "and the path with --from",
            drop=original,
            reason="path",
        )
    if not any(char.isalnum() for char in original):
        raise InvalidDropNameError(
            f"{original!r} cannot be a drop's name: it has no letter or digit. Give one such as flight-07",
            drop=original,
            reason="no-letters",
        )
    if is_drop_name(original):
        return original
    return f"{spell_in_ascii(original) or 'drop'}-{_hash(original)}"


def is_drop_name(text: str) -> bool:
    """Check whether a text can be a drop's name unchanged."""
    return len(text) <= MAX_NAME_CHARS and _NAME.fullmatch(text) is not None


def list_name_ends(original: str) -> tuple[str, ...]:
    """List the ends (a dash and a hash) that a drop's name may have if it was made from an original name.

    macOS writes an accented letter as two characters, and a typed name has one. The two spellings have
    different hashes, so both are listed.
    """
    forms = (original, *(unicodedata.normalize(form, original) for form in ("NFC", "NFD")))
    return tuple(dict.fromkeys(f"-{_hash(form)}" for form in forms))


def join_names(names: Collection[str], most: int = 12) -> str:
    """Join the first ``most`` names in alphabetical order, and add how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more


def _hash(original: str) -> str:
    return hashlib.sha256(original.encode(errors="surrogateescape")).hexdigest()[:8]
