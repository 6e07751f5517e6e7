"""Requests to the Hub: the listing of a revision, and single files."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dino_assets.errors import CheckpointNotFoundError, DinoAssetsError, InvalidCheckpointError
from dino_assets.settings.records import HubSettings
from dino_assets.weights.hub.filling import FetchFile
from dino_assets.weights.hub.listings import HubFile, Listing, is_commit, is_digest, is_wanted
from dino_assets.weights.hub.session import open_session
from dino_assets.weights.hub.transfer import FileRequest, Interrupted, TransferRetries, fetch_file

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_DESCRIBE_ATTEMPTS = 3
# If nothing answers, there may be no network: fail soon. An unknown host name takes seconds per attempt.
_UNREACHABLE_ATTEMPTS = 2


def list_revision(
    repo: str, revision: str, *, hub: HubSettings, retries: TransferRetries
) -> Listing:
    """Request the listing of a revision: its commit, and the needed files with their hashes.

    Raises:
        AuthenticationError, RepositoryNotFoundError, RevisionNotFoundError: the Hub refuses.
        CheckpointNotFoundError: ``repo`` is not a valid name of a repository.
        InvalidCheckpointError: the repository has no weights, or only pickled ones.
        ConfigError: the environment's proxies or certificates cannot be used.
        Interrupted: the Hub is out of reach, or its answer cannot be used.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    from dino_assets.weights.hub.errors import explain

    open_session()
    api = HfApi(endpoint=hub.endpoint, token=False, headers=request_headers(hub))
    short = replace(
        retries,
        attempts=min(_DESCRIBE_ATTEMPTS, retries.attempts),
        unreachable_attempts=min(_UNREACHABLE_ATTEMPTS, retries.attempts),
    )
    try:
        info = short.run(
            lambda: api.model_info(
                repo, revision=revision, files_metadata=True, timeout=retries.stall_s
            ),
            what=f"the listing of {repo!r}",
        )
    except HFValidationError:
        failure: DinoAssetsError | None = None
    except HfHubHTTPError as err:
        failure = explain(err, repo=repo, revision=revision, hub=hub, is_listing=True)
        if failure is None:
            raise Interrupted(f"HTTP {err.response.status_code}") from None
    except (ValueError, TypeError, KeyError):
        # Often the answer is a network's log-in page.
        raise Interrupted("the answer does not list the repository's files") from None
    else:
        return _wanted(repo, str(info.sha), info.siblings or [])
    # Raised outside the handler: otherwise the client's error, with the request's headers, would be chained.
    raise failure or CheckpointNotFoundError(
        f"{repo!r} is neither a directory on this machine nor a valid name of a Hub repository. Give a "
        "directory or a name like facebook/dinov2-base."
    )


def request_headers(hub: HubSettings) -> dict[str, str]:
    """Make the headers for the Hub, with the token of the settings or of ``hf auth login``."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    # Without this switch, which the library reads at every call, it would request a list of AI agents for
    # its user agent.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    # If the library reads the same token file, it finds the token itself: it renews a token of
    # ``hf auth login`` that expires soon.
    is_its_own = hub.token_file is not None and hub.token_file == Path(constants.HF_TOKEN_PATH)
    token = None if is_its_own else hub.token or False
    headers: dict[str, str] = build_hf_headers(token=token, library_name="dino-assets")
    return headers


def _wanted(repo: str, commit: str, siblings: "list[RepoSibling]") -> Listing:
    """Select the files to fetch. Those in subfolders are left out, because they belong to other models."""
    if not is_commit(commit):
        raise Interrupted("the listing has no commit")
    names = [sibling.rfilename for sibling in siblings if "/" not in sibling.rfilename]
    files = tuple(
        HubFile(s.rfilename, int(s.size or 0), s.lfs.sha256 if s.lfs else str(s.blob_id))
        for s in sorted(siblings, key=lambda sibling: sibling.rfilename)
        if s.rfilename in names and is_wanted(s.rfilename)
    )
    if not all(is_digest(file.digest) for file in files):
        raise Interrupted(
            "the listing has no hashes, so the files could not be verified: use the Hub itself or another "
            "mirror"
        )
    if not any(file.name.endswith(".safetensors") for file in files):
        pickled = [name for name in sorted(names) if name.endswith(PICKLED)]
        raise InvalidCheckpointError(
            f"{repo!r} has only pickled weights ({pickled[0]}), which can run code when loaded. Name a "
            "repository with model.safetensors. Or download the weights yourself, and convert them with "
            "`dino-assets import FILE`."
            if pickled
            else f"{repo!r} has no weights: model.safetensors, in one file or several, is expected. Name "
            "another repository."
        )
    return Listing(repo, commit, files)


def make_file_fetcher(listing: Listing, *, hub: HubSettings, retries: TransferRetries) -> FetchFile:
    """Make a function that fetches one file of a listing.

    The errors of that function are subclasses of both this package's and huggingface_hub's errors.
    """
    from huggingface_hub.errors import HfHubHTTPError

    from dino_assets.weights.hub.errors import ChecksumError, LocalEntryNotFoundError, explain

    headers = request_headers(hub)

    def fetch(file: HubFile, part: Path, report: Any) -> None:
        # Not by hf_hub_url, which may use the endpoint that was set when huggingface_hub was imported.
        url = f"{hub.endpoint}/{listing.repo}/resolve/{listing.commit}/{quote(file.name)}"
        failure: Exception | None
        try:
            return fetch_file(file, part, FileRequest(url, headers), retries=retries, report=report)
        except Interrupted as err:
            here_bytes = part.stat().st_size
            if err.is_wrong:
                rest = (
                    f"the {here_bytes:,} bytes from before are kept"
                    if here_bytes
                    else "nothing of it is kept"
                )
                failure = ChecksumError(
                    f"{listing.repo!r}: {file.name} arrived wrong twice ({err.reason}); the hash "
                    f"{file.digest} is expected, and {rest}. Something between here and "
                    f"{hub.endpoint} changes the data: try another network or mirror.",
                    problem=err.reason,
                    file=file.name,
                    here_bytes=here_bytes,
                )
            else:
                failure = LocalEntryNotFoundError(
                    f"{listing.repo!r}: {file.name} is incomplete, with {here_bytes:,} of {file.bytes:,} "
                    f"bytes ({err.reason}). Run again when the network is back: the transfer continues "
                    "where it stopped.",
                    problem=err.reason,
                    may_pass=True,
                    file=file.name,
                    here_bytes=here_bytes,
                )
        except HfHubHTTPError as err:
            failure = explain(err, repo=listing.repo, revision=listing.commit, hub=hub)
            failure = failure or LocalEntryNotFoundError(
                f"{listing.repo!r}: {hub.endpoint} refuses {file.name} (HTTP "
                f"{err.response.status_code}). Try again later, or use another mirror."
            )
        raise failure

    return fetch
