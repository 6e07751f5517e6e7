"""Hub errors that subclass both ``dino_assets.errors`` and huggingface_hub's errors.

``except`` clauses that were written for huggingface_hub therefore still catch them. The names are those of
``dino_assets.errors``, so a log shows the documented name.

This module imports huggingface_hub, so it is imported only before a request to the Hub. The errors carry a
reduced copy of the server's answer, without request headers and signed addresses, which hold secrets.
"""

from typing import Any

from huggingface_hub import errors as hub_errors

from dino_assets import errors as own_errors
from dino_assets.settings.records import HubSettings
from dino_assets.weights.catalogue import short_names


class _WithAnswer(hub_errors.HfHubHTTPError):
    """The base class of errors that carry a server's answer."""

    def __init__(self, message: str, *, response: Any, server_message: str | None = None) -> None:
        hub_errors.HfHubHTTPError.__init__(
            self, message, response=response, server_message=server_message
        )


class AuthenticationError(_WithAnswer, own_errors.AuthenticationError):
    """The token is missing, rejected, or lacks access."""


class GatedRepositoryError(_WithAnswer, own_errors.AuthenticationError, hub_errors.GatedRepoError):
    """The repository is gated: its owner grants access per user."""

    __qualname__ = "AuthenticationError"  # the name in tracebacks


class RepositoryNotFoundError(
    _WithAnswer, own_errors.RepositoryNotFoundError, hub_errors.RepositoryNotFoundError
):
    """The repository does not exist, or is hidden."""


class RevisionNotFoundError(
    _WithAnswer, own_errors.RevisionNotFoundError, hub_errors.RevisionNotFoundError
):
    """The branch, tag or commit does not exist."""


class LocalEntryNotFoundError(
    own_errors.LocalEntryNotFoundError, hub_errors.LocalEntryNotFoundError
):
    """The checkpoint can neither be fetched nor is it whole on this machine."""


class ChecksumError(own_errors.ChecksumError, hub_errors.LocalEntryNotFoundError):
    """The bytes of a file arrived wrong twice."""


def explain(
    err: hub_errors.HfHubHTTPError,
    *,
    repo: str,
    revision: str,
    hub: HubSettings,
    is_listing: bool = False,
) -> own_errors.CheckpointNotFoundError | None:
    """Make the error to raise for the Hub's refusal ``err``; return None if a later request may succeed."""
    status = err.response.status_code
    code = err.response.headers.get("X-Error-Code")
    has_token = "authorization" in err.response.request.headers
    answer = _stripped(err)
    page = f"{hub.endpoint}/{repo}"
    # A mirror may send no error code: then a 404 for the listing means a missing repository.
    is_bare = code is None and status == 404 and is_listing
    if code == "RepoNotFound" or is_bare:
        asked = f" or no revision {revision!r} of it" if is_bare and revision != "main" else ""
        names = "" if "/" in repo else f" Short names are {', '.join(short_names())}."
        return RepositoryNotFoundError(
            f"{hub.endpoint} has no repository {repo!r}{asked}, or it is private and "
            f"{'the token has no access to it' if has_token else 'no token was sent'}. Check the spelling"
            f"{'' if has_token else ', or set HF_TOKEN'}.{names}",
            response=answer,
        )
    if code == "RevisionNotFound":
        return RevisionNotFoundError(
            f"repository {repo!r} has no branch, tag or commit {revision!r}. {page}/tree/main lists them.",
            response=answer,
        )
    if code == "GatedRepo" or status in (401, 403):
        tokens = f"at {hub.endpoint}/settings/tokens and set HF_TOKEN."
        if not has_token:
            text = f" needs a token, and no token was sent. Request access at {page}, create a token {tokens}"
        elif status == 401:
            text = (
                f": the token was rejected (wrong, revoked or expired). Create a new one {tokens}"
            )
        else:
            text = (
                f": the token is valid, but has no access. Request access at {page}; a fine-grained token "
                "must also allow reading gated repositories."
            )
        # huggingface_hub reports a plain 401 as a missing repository; a message about the token helps
        # more. Its GatedRepoError is a RepositoryNotFoundError.
        kind = GatedRepositoryError if code == "GatedRepo" else AuthenticationError
        refusal = kind(f"{repo!r}{text}", response=answer)
        refusal.has_token = has_token
        return refusal
    if status == 404:
        return LocalEntryNotFoundError(
            f"repository {repo!r} lists a file that {hub.endpoint} does not have. Try again later, or "
            "another mirror."
        )
    return None


def _stripped(err: hub_errors.HfHubHTTPError) -> Any:
    response = err.response
    request = type(response.request)(
        response.request.method, response.request.url.copy_with(query=None)
    )
    shown = ("x-error-code", "x-request-id")
    headers = {name: value for name, value in response.headers.items() if name.lower() in shown}
    return type(response)(response.status_code, headers=headers, request=request)
