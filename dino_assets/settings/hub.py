"""Settings of the Hugging Face Hub from the environment and ``.env``."""

import os
import re
from pathlib import Path

from dino_assets.errors import ConfigError
from dino_assets.settings.environment import find_cache, find_root, read_environment
from dino_assets.settings.records import HubSettings
from dino_assets.settings.urls import expand_path, is_address

_TRUE = ("1", "ON", "YES", "TRUE")  # the same words as in huggingface_hub


def resolve_hub(root: Path | None = None) -> HubSettings:
    """Read the Hub's settings as they are now; huggingface_hub reads them only once, when it is imported.

    Raises:
        ConfigError: the token (``HF_TOKEN``, or the file of ``hf auth login``) is unreadable or invalid,
            ``HF_ENDPOINT`` is not an address, or a folder's path is invalid.
    """
    folder = root or find_root()
    env = read_environment(folder)
    home = (
        _hub_path("HF_HOME", env.HF_HOME, folder)
        if env.HF_HOME
        else _hub_path("XDG_CACHE_HOME", env.XDG_CACHE_HOME, folder) / "huggingface"
    )
    if not is_address(env.HF_ENDPOINT) or re.search(r"[\s@?#]", env.HF_ENDPOINT):
        raise ConfigError(
            "HF_ENDPOINT is not an address. Set one like https://huggingface.co, without user and password.",
            reason="endpoint",
        )
    is_offline = _is_on(env.HF_HUB_OFFLINE)
    token = _checked_token(env.HF_TOKEN or "", "HF_TOKEN", advice="Copy it again.")
    token_file = None
    if _is_on(env.HF_HUB_DISABLE_IMPLICIT_TOKEN):
        token = None  # in huggingface_hub this switch disables HF_TOKEN, too
    elif token is None and not is_offline:
        path = env.HF_TOKEN_PATH
        token_file = _hub_path("HF_TOKEN_PATH", path, folder) if path else home / "token"
        token = _read_token(token_file)
    return HubSettings(
        endpoint=env.HF_ENDPOINT.rstrip("/"),
        home=home,
        cache=_hub_path("HF_HUB_CACHE", env.HF_HUB_CACHE, folder)
        if env.HF_HUB_CACHE
        else home / "hub",
        is_offline=is_offline,
        token=token,
        token_file=token_file,
    )


def find_engine_cache(root: Path | None = None) -> Path:
    """Return the cache for converted networks and passed checks: in the project, else in the Hub's folder."""
    folder = root or find_root()
    if (folder / "dagster.yaml").is_file():
        return find_cache(folder)
    return resolve_hub(folder).home / "dino-assets"


def _hub_path(variable: str, text: str, root: Path) -> Path:
    try:
        return (root / expand_path(os.path.expandvars(text))).absolute()
    except ConfigError as err:
        raise ConfigError(f"{variable}: {err}", setting=variable, reason="path") from None


def _read_token(file: Path) -> str | None:
    what = "the token file of `hf auth login` (HF_HOME/token, or HF_TOKEN_PATH)"
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        text = "\0"  # refused below, outside the handler: this error contains the file's content
    except OSError as err:
        raise ConfigError(
            f"{what} cannot be read ({err.strerror}). Make it readable, or set HF_TOKEN.",
            reason="token-file",
        ) from None
    return _checked_token(text, what, advice="Log in again, or set HF_TOKEN.")


def _checked_token(text: str, what: str, *, advice: str) -> str | None:
    token = text.strip()
    if not all("!" <= letter <= "~" for letter in token):
        # Refused here, because the HTTP client's error would show the token.
        raise ConfigError(f"{what} has characters that no token has. {advice}", reason="token")
    return token or None


def _is_on(switch: str | None) -> bool:
    return (switch or "").upper() in _TRUE
