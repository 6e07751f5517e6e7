"""huggingface_hub's HTTP client, with the environment's proxies and certificates."""

import logging
from importlib import import_module
from typing import Any

from dino_assets.errors import ConfigError
from dino_assets.settings.environment import is_in_environment

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
# These loggers write signed addresses at INFO. The version of huggingface_hub decides which of them exist.
_TALKATIVE = ("httpx", "httpx2", "httpcore", "httpcore2")


def open_session() -> Any:
    """Return the client that all requests share; it logs no addresses unless its log level was set.

    Raises:
        ConfigError: the certificates or proxies cannot be used.
    """
    from huggingface_hub import get_session

    for name in _TALKATIVE:
        if (logger := logging.getLogger(name)).level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
    try:
        return get_session()
    except OSError as err:
        raise ConfigError(
            f"the certificates cannot be used ({type(err).__name__}). Check {_names_of(CERTIFICATES)}: a "
            "readable file with certificates in PEM form is expected.",
            setting=_names_of(CERTIFICATES),
        ) from None
    except ImportError:
        problem = "a SOCKS proxy needs the package socksio; install it"
    except (ValueError, invalid_url()):
        problem = "http://host:port is expected"
    # Raised outside the handler: the client's text contains the proxy's address, with its password.
    names = _names_of(PROXIES)
    raise ConfigError(
        f"the proxy cannot be used. Check {names}: {problem}.", setting=names, reason=problem
    )


def invalid_url() -> type[Exception]:
    """Return the client's error class for an invalid address; it is not an ``HTTPError``."""
    return _error_of_client("InvalidURL")


def no_connection() -> type[Exception]:
    """Return the client's error class for an unknown host or a refused connection; not for timeouts."""
    return _error_of_client("ConnectError")


def _error_of_client(name: str) -> type[Exception]:
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    # httpx until huggingface_hub 2.3, httpx2 since.
    client = import_module(HTTPError.__module__.partition(".")[0])
    error: type[Exception] = getattr(client, name)
    return error


def _names_of(variables: tuple[str, ...]) -> str:
    spellings = [spelling for name in variables for spelling in (name, name.lower())]
    return ", ".join([name for name in spellings if is_in_environment(name)] or variables)
