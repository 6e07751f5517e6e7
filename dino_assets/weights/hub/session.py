"""huggingface_hub's HTTP client, with the proxies and certificates that the environment names."""

import logging
from importlib import import_module
from typing import Any

from dino_assets.errors import ConfigError
from dino_assets.settings.environment import is_in_environment

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
# Their request lines show signed addresses at INFO; which of them there are is the library's choice.
_TALKATIVE = ("httpx", "httpx2", "httpcore", "httpcore2")


def open_session() -> Any:
    """The client that all requests share, kept from logging addresses unless somebody wants that.

    Raises:
        ConfigError: it cannot be made with these certificates or proxies.
    """
    from huggingface_hub import get_session

    for name in _TALKATIVE:
        if (logger := logging.getLogger(name)).level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
    try:
        return get_session()
    except OSError as err:
        raise ConfigError(
            f"no HTTPS is possible with these certificates ({type(err).__name__}). Look at "
            f"{_names_of(CERTIFICATES)}: a readable file with certificates in PEM form is expected.",
            setting=_names_of(CERTIFICATES),
        ) from None
    except ImportError:
        problem = "a SOCKS proxy needs the package socksio: install it"
    except (ValueError, invalid_url()):
        problem = "http://host:port is expected"
    # Outside the handler: the client's text repeats the proxy's address, which may hold a password.
    names = _names_of(PROXIES)
    raise ConfigError(
        f"the proxy cannot be used. Look at {names}: {problem}.", setting=names, reason=problem
    )


def invalid_url() -> type[Exception]:
    """The client's error for an address that is none; it is no ``HTTPError``."""
    return _error_of_client("InvalidURL")


def no_connection() -> type[Exception]:
    """The client's error where a host's name is unknown, or it refuses; silence is another one."""
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
