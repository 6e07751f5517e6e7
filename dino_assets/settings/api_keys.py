"""Parsing of API keys: ``NAME:KEY`` or ``NAME:KEY:embed+read``, separated by commas or line breaks."""

import hashlib
import re
from pathlib import Path

from dino_assets.errors import ConfigError
from dino_assets.settings.records import ApiKey

SCOPES = ("embed", "read", "delete")
DEFAULT_SCOPES = ("embed", "read")
LEAST_CHARACTERS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[!-9;-~]+")  # printable ASCII without blanks and colons, valid in a header


def hash_key(key: str) -> bytes:
    """Hash a key; only hashes are kept and compared."""
    return hashlib.sha256(key.encode()).digest()


def parse_keys(text: str, *, setting: str) -> tuple[ApiKey, ...]:
    """Parse API keys from a text; ``#`` begins a comment. ``setting`` is the variable's name, for messages.

    Raises:
        ConfigError: an entry is invalid, or two have the same name. The message never repeats a key.
    """
    keys: dict[str, ApiKey] = {}
    lines = [line.partition("#")[0] for line in text.splitlines()]
    entries = [entry.strip() for line in lines for entry in line.split(",")]
    for number, entry in enumerate(filter(None, entries), 1):
        name, _, rest = entry.partition(":")
        key, has_scopes, words = rest.partition(":")
        scopes = tuple(words.split("+")) if has_scopes else DEFAULT_SCOPES
        fault = ""
        if not _NAME.fullmatch(name):
            fault = "its name is not 1 to 64 letters, digits or ._-"
        elif not _KEY.fullmatch(key) or len(key) < LEAST_CHARACTERS:
            fault = f"its key is not {LEAST_CHARACTERS} or more printable characters without , : #"
        elif unknown := [word for word in scopes if word not in SCOPES]:
            fault = f"{unknown[0]!r} is not a scope; scopes are {', '.join(SCOPES)}"
        elif name in keys:
            fault = f"the name {name!r} is given twice"
        if fault:
            raise ConfigError(
                f"{setting}, entry {number}: {fault}. NAME:KEY or NAME:KEY:embed+read+delete is expected.",
                setting=setting,
                reason="key",
            )
        keys[name] = ApiKey(name, hash_key(key), frozenset(scopes))
    return tuple(keys.values())


def read_key_file(path: Path) -> tuple[ApiKey, ...]:
    """Read API keys from a file with one ``NAME:KEY`` per line, such as a mounted secret.

    Raises:
        ConfigError: the file cannot be read or has no key, or an entry is invalid.
    """
    setting = "DINO_API_KEYS_FILE"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"{setting}: {path.name!r} cannot be read ({reason}). Name a readable UTF-8 file with one "
            "NAME:KEY per line.",
            setting=setting,
            reason="file",
        ) from None
    keys = parse_keys(text, setting=setting)
    if not keys:  # otherwise a service that the operator believes to be protected would be open
        raise ConfigError(
            f"{setting}: {path.name!r} has no key. Write one NAME:KEY per line into it.",
            setting=setting,
            reason="empty",
        )
    return keys
