"""From huggingface_hub's errors to ours, which are its classes too: older ``except`` clauses still catch.

They are called as the tree in ``dino_assets.errors`` calls them: a log shows the name that the docs have.

Imported only when the Hub is asked. What is raised carries a stripped copy of the server's answer: no
request headers and no signed address, which hold secrets.
"""

from typing import Any

from huggingface_hub import errors as hub_errors

from dino_assets import errors as own_errors
from dino_assets.settings.records import HubSettings
from dino_assets.weights.catalogue import short_names


class _Answered(hub_errors.HfHubHTTPError):
    """Built as huggingface_hub builds its errors, whatever other parents a class has."""

    def __init__(self, message: str, *, response: Any, server_message: str | None = None) -> None:
        hub_errors.HfHubHTTPError.__init__(
            self, message, response=response, server_message=server_message
        )


class AuthenticationError(_Answered, own_errors.AuthenticationError):
    """A token is missing, rejected, or not enough."""


class GatedRepositoryError(_Answered, own_errors.AuthenticationError, hub_errors.GatedRepoError):
    """The repository's owner grants access one by one."""

    __qualname__ = "AuthenticationError"  # what a traceback shows


class RepositoryNotFoundError(
    _Answered, own_errors.RepositoryNotFoundError, hub_errors.RepositoryNotFoundError
):
    """No such repository, or a hidden one."""


class RevisionNotFoundError(
    _Answered, own_errors.RevisionNotFoundError, hub_errors.RevisionNotFoundError
):
    """No such branch, tag or commit."""


class LocalEntryNotFoundError(
    own_errors.LocalEntryNotFoundError, hub_errors.LocalEntryNotFoundError
):
    """Neither to be had nor whole on this machine."""


class ChecksumError(own_errors.ChecksumError, hub_errors.LocalEntryNotFoundError):
    """Wrong bytes, twice."""


def explain(
    err: hub_errors.HfHubHTTPError,
    *,
    repo: str,
    revision: str,
    hub: HubSettings,
    is_listing: bool = False,
) -> own_errors.CheckpointNotFoundError | None:
    """Our error for a refusal that asking again does not change; None for anything else."""
    status = err.response.status_code
    code = err.response.headers.get("X-Error-Code")
    has_token = "authorization" in err.response.request.headers
    answer = _stripped(err)
    page = f"{hub.endpoint}/{repo}"
    # A mirror may give no code: what it does not list, it does not have.
    is_bare = code is None and status == 404 and is_listing
    if code == "RepoNotFound" or is_bare:
        asked = f" or no revision {revision!r} of it" if is_bare and revision != "main" else ""
        names = "" if "/" in repo else f" Short names are {', '.join(short_names())}."
        return RepositoryNotFoundError(
            f"{hub.endpoint} has no repository {repo!r}{asked}, or it is private and "
            f"{'this token may not see it' if has_token else 'no token was sent'}. Check the spelling"
            f"{'' if has_token else ', or set HF_TOKEN'}.{names}",
            response=answer,
        )
    if code == "RevisionNotFound":
        return RevisionNotFoundError(
            f"repository {repo!r} has no branch, tag or commit {revision!r}. See what there is at "
            f"{page}/tree/main.",
            response=answer,
        )
    if code == "GatedRepo" or status in (401, 403):
        tokens = f"at {hub.endpoint}/settings/tokens and set HF_TOKEN."
        if not has_token:
            text = f" needs a token, and no token was sent. Ask for access at {page}, make a token {tokens}"
        elif status == 401:
            text = f": the token was rejected (wrong, revoked or expired). Make a new one {tokens}"
        else:
            text = (
                f": the token is valid, but access is not granted to it. Ask for access at {page}; a "
                "fine-grained token must also allow reading gated repositories."
            )
        # huggingface_hub takes a bare 401 for a missing repository; the owner of a token is helped
        # more by hearing about the token. GatedRepoError is a RepositoryNotFoundError there.
        kind = GatedRepositoryError if code == "GatedRepo" else AuthenticationError
        refusal = kind(f"{repo!r}{text}", response=answer)
        refusal.has_token = has_token
        return refusal
    if status == 404:
        return LocalEntryNotFoundError(
            f"repository {repo!r} lists a file that {hub.endpoint} lacks"
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
