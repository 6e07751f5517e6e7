"""Posting JSON to a configured address, with one retry, and removing secrets from texts."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from http.client import HTTPException
from typing import Any

TIMEOUT_S = 4.0
# One retry, for a receiver that restarts. More attempts would delay the other alerts.
ATTEMPTS, PAUSE_S = 2, 1.0
MAX_CHARS = 2000
HIDDEN = "…"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirects: a redirected POST would arrive as a GET without its body."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def post_json(
    url: str,
    body: Mapping[str, Any],
    *,
    timeout_s: float = TIMEOUT_S,
    sleep: Callable[[float], object] = time.sleep,
) -> str | None:
    """Post JSON, with one retry; return why it failed, or None.

    The reason does not contain the address, which may itself be a secret.
    """
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(_NoRedirects)
    problem = None
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(PAUSE_S)
        try:
            with opener.open(request, timeout=timeout_s):
                return None
        except urllib.error.HTTPError as err:
            problem = f"it answered {err.code}"
            err.close()
            if err.code < 500:
                break  # a retry would get the same answer
        except TimeoutError:
            problem = f"no answer in {timeout_s:g} s"
        except urllib.error.URLError as err:
            is_slow = isinstance(err.reason, TimeoutError)
            problem = f"no answer in {timeout_s:g} s" if is_slow else _name(err.reason)
        except (OSError, HTTPException, ValueError) as err:
            problem = _name(err)
    return problem


def hide_all(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets in a text, and cut it to ``MAX_CHARS``."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"


def _name(err: object) -> str:
    # Only the system's error text or the class: a library's text may repeat the address.
    return getattr(err, "strerror", None) or type(err).__name__
