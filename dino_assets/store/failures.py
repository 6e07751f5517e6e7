"""From obstore's errors to ours: what happened and where, without secrets or resolved paths.

Texts of a local store are rebuilt from the error number, since obstore's carry absolute paths; of a
server's answer only the status and the error code are kept, since its body may repeat credentials.
"""

import errno
import os
import re

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
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def explain(err: Exception, *, verb: str, key: str, store: str, is_local: bool) -> DinoAssetsError:
    """Our error for one of obstore's. Raise it outside the handler: the context must not survive."""
    text = str(err)
    where = f"{verb} {key!r} in store {store!r}"
    number = int(match.group(1)) if is_local and (match := _ERRNO.search(text)) else 0
    code = match.group(1) if not is_local and (match := _CODE.search(text)) else ""
    status = match.group(1) if not is_local and (match := _STATUS.search(text)) else ""
    reason = _local_reason(number) if is_local else _remote_reason(text, status, code)

    def failure(kind: type[StoreError], sentence: str, **more: str) -> StoreError:
        return kind(f"{where}: {sentence}", store=store, key=key, **more)

    if text.startswith("Could not parse path"):
        return ConfigError(f"{where}: this is not a key that any object can have", reason="key")
    if isinstance(err, obstore_errors.AlreadyExistsError):
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
    if "HTTP error" in text or "retries, retries" in text or status.startswith("5"):
        return failure(
            StoreUnavailableError,
            "the store does not answer as it should. Is it running, and is the endpoint right? "
            f"({reason})",
        )
    if "invalid path" not in reason:
        return failure(StoreError, reason)
    odd = _ODD_KEY.search(reason)
    odd_key = odd[1] if odd else reason.rpartition("invalid path: ")[2]
    return failure(StoreError, reason, reason="odd-key", odd_key=odd_key)


def _local_reason(number: int) -> str:
    return os.strerror(number) if number else "the file system refused"


def _remote_reason(text: str, status: str, code: str) -> str:
    request = text.partition("\n")[0].partition(" - ")[0].strip()
    request = request.removeprefix("Generic S3 error: ").partition(" response: ")[0]
    return ", ".join(word for word in (request, status, code) if word)
