"""From obstore's errors to ours: what happened and where, without secrets or resolved paths.

Texts of a local store are rebuilt from the error number, since obstore's carry absolute paths; of a
server's answer only the status and the error code are kept, since its body may repeat credentials.
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
# obstore's words for a key with an empty or dotted segment or a control character.
_ODD_KEY = re.compile(
    r'object with invalid path: .*?Path "(.*)"(?: contained|: Encountered)', re.DOTALL
)
_REQUEST = re.compile(r"Error performing ([A-Z]+) (http\S+) in ")
# In the order of the layers: the first that fits says most. Of obstore's debugging text.
_LINE_FAULTS = (
    (re.compile(r"certificate|tls|handshake", re.IGNORECASE), "no trusted connection"),
    (re.compile(r"dns error|failed to lookup"), "its name cannot be looked up"),
    (re.compile(r"message: \"([^\"]{1,80})\""), "no connection"),
    (re.compile(r"kind: Timeout|TimedOut"), "no byte came in time"),
    (re.compile(r"kind: Connect\b"), "no connection"),
    (re.compile(r""), "the connection broke off"),
)
# What a server says when the bytes that came are others than those that were sent.
_ALTERED = {
    "BadDigest",
    "Md5Mismatch",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
    "IncompleteBody",
}
_PASSING = {"RequestTimeout", "SlowDown"} | _ALTERED
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def explain(err: Exception, *, verb: str, key: str, store: str, is_local: bool) -> DinoAssetsError:
    """Our error for one of obstore's. Raise it outside the handler: the context must not survive."""
    text = str(err)
    where = f"{verb} {key!r} in store {store!r}"
    number = _find_number(err, text) if is_local else 0
    code = match.group(1) if not is_local and (match := _CODE.search(text)) else ""
    status = match.group(1) if not is_local and (match := _STATUS.search(text)) else ""
    reason = _local_reason(number) if is_local else _remote_reason(text, status, code)
    is_line = not is_local and "HTTP error: " in text

    def failure(kind: type[StoreError], sentence: str, **more: str) -> StoreError:
        return kind(f"{where}: {sentence}", store=store, key=key, **more)

    if text.startswith("Could not parse path"):
        return ConfigError(f"{where}: this is not a key that any object can have", reason="key")
    if isinstance(err, obstore_errors.AlreadyExistsError | FileExistsError):
        return failure(ObjectExistsError, "an object is there already")
    if code in ("NoSuchBucket", "ContainerNotFound"):
        advice = "Create it, or run `dino-assets doctor --create-bucket`."
        return failure(StoreError, f"the bucket does not exist. {advice}", reason="no-bucket")
    if number in _FULL or status.startswith("507"):
        return failure(StoreFullError, "no space left. Free some and run again.")
    if (
        isinstance(err, obstore_errors.PermissionDeniedError | obstore_errors.UnauthenticatedError)
        or number in _DENIED
        or status[:3] in ("401", "403")
    ):
        advice = "the folder's permissions" if is_local else "the credentials and what they may do"
        return failure(StoreAccessError, f"access denied. Check {advice} ({reason}).")
    if isinstance(err, FileNotFoundError | obstore_errors.NotFoundError) and verb != "put":
        return failure(ObjectNotFoundError, "there is no such object")
    if isinstance(err, obstore_errors.PreconditionError):
        return failure(StoreError, "it was replaced while it was being read. Run again.")
    if is_line or is_passing(int(status[:3] or 0), text):
        return _unavailable(where, reason, code, store=store, key=key)
    if "invalid path" not in reason:
        return failure(StoreError, reason)
    odd = _ODD_KEY.search(reason)
    odd_key = odd[1] if odd else reason.rpartition("invalid path: ")[2]
    return failure(StoreError, reason, reason="odd-key", odd_key=odd_key)


def explain_answer(
    status: int, words: str, text: str, *, key: str, store: str, url: str
) -> StoreUnavailableError:
    """Our error for a server's answer to a put that may be another one the next time."""
    code = match.group(1) if (match := _CODE.search(text)) else ""
    reason = ", ".join(
        word for word in (_spell_request("PUT", url), f"{status} {words}", code) if word
    )
    return _unavailable(f"put {key!r} in store {store!r}", reason, code, store=store, key=key)


def explain_line(err: OSError, *, key: str, store: str, url: str) -> StoreUnavailableError:
    """Our error for a put whose connection broke off or could not be made."""
    fault, detail = "the connection broke off", os.strerror(err.errno) if err.errno else ""
    if isinstance(err, TimeoutError):
        fault, detail = "no byte moved in time", ""
    elif isinstance(err, ConnectionRefusedError):
        fault = "no connection"
    elif isinstance(err, socket.gaierror):  # with numbers of its own, as the next one
        fault, detail = "its name cannot be looked up", ""
    elif isinstance(err, ssl.SSLError):
        detail = ""
    reason = f"{_spell_request('PUT', url)}: {fault}{detail and f' ({detail})'}"
    return _unavailable(f"put {key!r} in store {store!r}", reason, "", store=store, key=key)


def is_passing(status: int, text: str) -> bool:
    """Tell whether a server that refuses may do otherwise when it is asked again."""
    code = match.group(1) if (match := _CODE.search(text)) else ""
    return status in (408, 429) or (status >= 500 and status != 507) or code in _PASSING


def _unavailable(
    where: str, reason: str, code: str, *, store: str, key: str
) -> StoreUnavailableError:
    sentence = (
        "the store received other bytes than were sent. Look at the network and the memory on the way."
        if code in _ALTERED
        else "the store does not answer as it should. Is it running, and is the endpoint right?"
    )
    return StoreUnavailableError(f"{where}: {sentence} ({reason})", store=store, key=key)


def _find_number(err: Exception, text: str) -> int:
    if isinstance(err, OSError) and err.errno:
        return err.errno
    return int(match.group(1)) if (match := _ERRNO.search(text)) else 0


def _spell_request(verb: str, url: str) -> str:
    """A request without the query, which may hold a signature."""
    address = urlsplit(url)
    return f"{verb} {address.scheme}://{address.netloc}{address.path}"


def _local_reason(number: int) -> str:
    return os.strerror(number) if number else "the file system refused"


def _remote_reason(text: str, status: str, code: str) -> str:
    first, _, debugging = text.partition("\n")
    match = _REQUEST.search(first)
    request = _spell_request(match[1], match[2]) if match else ""
    if "HTTP error: " in first:
        cause = (
            debugging.partition("inner: ")[2] or debugging
        )  # without the address, which names the key
        fault, detail = next((w, m) for pattern, w in _LINE_FAULTS if (m := pattern.search(cause)))
        words = f" ({detail[1]})" if detail.re.groups else ""
        return f"{request}{request and ': '}{fault}{words}"
    if "redirect without LOCATION" in first:
        return f"{request}: the bucket is elsewhere; is the region right?"
    if status:
        return ", ".join(word for word in (request, status, code) if word)
    rest = first.removeprefix("Generic S3 error: ").removeprefix("Generic MicrosoftAzure error: ")
    return rest.removeprefix("Got ")
