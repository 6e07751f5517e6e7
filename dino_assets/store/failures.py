"""Translation of obstore's errors into this package's errors, without secrets or resolved paths.

Messages for a local store are built from the error number, because obstore's texts contain absolute paths.
Messages for a server contain only its status and error code, because its response body may repeat
credentials.
"""

import errno
import os
import re
import socket
import ssl
from urllib.parse import urlsplit

from obstore import exceptions as obstore_errors

from dino_assets.errors import (
    ConfigError,
    DinoAssetsError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)

_ERRNO = re.compile(r"\(os error (\d+)\)")
_STATUS = re.compile(r"status code: (\d{3}(?: [A-Z][A-Za-z]*)*)")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
# obstore's text for a key with an empty segment, a dotted segment or a control character.
_INVALID_KEY = re.compile(
    r'object with invalid path: .*?Path "(.*)"(?: contained|: Encountered)', re.DOTALL
)
_REQUEST = re.compile(r"Error performing ([A-Z]+) (http\S+) in ")
# Patterns of obstore's debugging text, most specific first: the first match is used.
_CONNECTION_FAULTS = (
    (re.compile(r"certificate|tls|handshake", re.IGNORECASE), "no trusted connection"),
    (re.compile(r"dns error|failed to lookup"), "its host name cannot be resolved"),
    (re.compile(r"message: \"([^\"]{1,80})\""), "no connection"),
    (re.compile(r"kind: Timeout|TimedOut"), "no byte arrived in time"),
    (re.compile(r"kind: Connect\b"), "no connection"),
    (re.compile(r""), "the connection was interrupted"),
)
# Error codes of a server that received other bytes than were sent.
_ALTERED = {
    "BadDigest",
    "Md5Mismatch",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    "IncompleteBody",
}
_TEMPORARY = {"RequestTimeout", "SlowDown"} | _ALTERED
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def explain(err: Exception, *, verb: str, key: str, store: str, is_local: bool) -> DinoAssetsError:
    """Return this package's error for an error that obstore raised.

    The caller must raise the result outside its ``except`` block. Inside that block, Python would attach
    obstore's error to the result, and the text of obstore's error may contain secrets.
    """
    text = str(err)
    where = f"{verb} {key!r} in store {store!r}"
    number = _find_number(err, text) if is_local else 0
    code = match.group(1) if not is_local and (match := _CODE.search(text)) else ""
    status = match.group(1) if not is_local and (match := _STATUS.search(text)) else ""
    reason = _local_reason(number) if is_local else _remote_reason(text, status, code)
    is_connection_fault = not is_local and "HTTP error: " in text

    def failure(kind: type[StoreError], sentence: str, **more: str) -> StoreError:
        return kind(f"{where}: {sentence}", store=store, key=key, **more)

    if text.startswith("Could not parse path"):
        return ConfigError(f"{where}: no object can have this key. Correct the key.", reason="key")
    if isinstance(err, obstore_errors.AlreadyExistsError | FileExistsError):
        return failure(ObjectExistsError, "an object with this key exists already")
    if code in ("NoSuchBucket", "ContainerNotFound"):
        advice = "Create it, or run `dino-assets doctor --create-bucket`."
        return failure(StoreError, f"the bucket does not exist. {advice}", reason="no-bucket")
    if number in _FULL or status.startswith("507"):
        return failure(StoreFullError, "no space left. Free some space, then run again.")
    if (
        isinstance(err, obstore_errors.PermissionDeniedError | obstore_errors.UnauthenticatedError)
        or number in _DENIED
        or status[:3] in ("401", "403")
    ):
        advice = "the folder's permissions" if is_local else "the credentials and their permissions"
        return failure(StoreAccessError, f"access denied. Check {advice} ({reason}).")
    if isinstance(err, FileNotFoundError | obstore_errors.NotFoundError) and verb != "put":
        return failure(ObjectNotFoundError, "the object does not exist")
    if isinstance(err, obstore_errors.PreconditionError):
        return failure(StoreError, "the object was replaced while it was being read. Run again.")
    if is_connection_fault or is_temporary(int(status[:3] or 0), text):
        return _unavailable(where, reason, code, store=store, key=key)
    if "invalid path" not in reason:
        return failure(StoreError, reason)
    match = _INVALID_KEY.search(reason)
    odd_key = match[1] if match else reason.rpartition("invalid path: ")[2]
    return failure(StoreError, reason, reason="odd-key", odd_key=odd_key)


def explain_response(
    status: int, phrase: str, text: str, *, key: str, store: str, url: str
) -> StoreUnavailableError:
    """Make the error for a put that a server refused for a reason that may pass."""
    code = match.group(1) if (match := _CODE.search(text)) else ""
    reason = ", ".join(
        word for word in (_spell_request("PUT", url), f"{status} {phrase}", code) if word
    )
    return _unavailable(f"put {key!r} in store {store!r}", reason, code, store=store, key=key)


def explain_connection_fault(
    err: OSError, *, key: str, store: str, url: str
) -> StoreUnavailableError:
    """Make the error for a put whose connection failed or was interrupted."""
    fault = "the connection was interrupted"
    detail = os.strerror(err.errno) if err.errno else ""
    if isinstance(err, TimeoutError):
        fault, detail = "no byte moved in time", ""
    elif isinstance(err, ConnectionRefusedError):
        fault = "no connection"
    elif isinstance(err, socket.gaierror):  # its numbers are not errno values, nor are SSLError's
        fault, detail = "its host name cannot be resolved", ""
    elif isinstance(err, ssl.SSLError):
        detail = ""
    reason = f"{_spell_request('PUT', url)}: {fault}{detail and f' ({detail})'}"
    return _unavailable(f"put {key!r} in store {store!r}", reason, "", store=store, key=key)


def is_temporary(status: int, text: str) -> bool:
    """Check whether a refused request may succeed when it is repeated."""
    code = match.group(1) if (match := _CODE.search(text)) else ""
    return status in (408, 429) or (status >= 500 and status != 507) or code in _TEMPORARY


def _unavailable(
    where: str, reason: str, code: str, *, store: str, key: str
) -> StoreUnavailableError:
    sentence = (
        "the store received other bytes than were sent. Check the network and this machine's memory."
        if code in _ALTERED
        else "the store cannot be reached or is temporarily unavailable. Check that it is running and that "
        "the endpoint is right."
    )
    return StoreUnavailableError(f"{where}: {sentence} ({reason})", store=store, key=key)


def _find_number(err: Exception, text: str) -> int:
    if isinstance(err, OSError) and err.errno:
        return err.errno
    return int(match.group(1)) if (match := _ERRNO.search(text)) else 0


def _spell_request(verb: str, url: str) -> str:
    """Format a request without its query, which may contain a signature."""
    address = urlsplit(url)
    return f"{verb} {address.scheme}://{address.netloc}{address.path}"


def _local_reason(number: int) -> str:
    return os.strerror(number) if number else "the file system refused"


def _remote_reason(text: str, status: str, code: str) -> str:
    first, _, debugging = text.partition("\n")
    match = _REQUEST.search(first)
    request = _spell_request(match[1], match[2]) if match else ""
    if "HTTP error: " in first:
        # Skip the address: it contains the key, which may match a pattern.
        cause = debugging.partition("inner: ")[2] or debugging
        fault, detail = next(
            (words, match)
            for pattern, words in _CONNECTION_FAULTS
            if (match := pattern.search(cause))
        )
        words = f" ({detail[1]})" if detail.re.groups else ""
        return f"{request}{request and ': '}{fault}{words}"
    if "redirect without LOCATION" in first:
        return f"{request}: the bucket is in another region. Check the configured region."
    if status:
        return ", ".join(word for word in (request, status, code) if word)
    rest = first.removeprefix("Generic S3 error: ").removeprefix("Generic MicrosoftAzure error: ")
    return rest.removeprefix("Got ")
