"""The exception classes of this package.

    DinoAssetsError
    ├── ConfigError (ValueError)            a setting or an argument is invalid
    │   └── DeviceUnavailableError          a named compute device is not available
    ├── DeviceMemoryError (MemoryError)     not even one tile fits into the device's memory
    ├── EngineRefusedError                  no engine's results agree with PyTorch's in float32
    ├── WorkerLostError                     a worker process ended unexpectedly
    ├── MissingExtraError (ImportError)     an optional dependency is not installed
    ├── StoreError (OSError)                the object store refused or failed
    │   ├── ObjectNotFoundError (FileNotFoundError)
    │   ├── ObjectExistsError (FileExistsError)   a new object cannot be created: its key is in use
    │   ├── StoreAccessError (PermissionError)    credentials missing, wrong or insufficient
    │   ├── StoreFullError                  no space left
    │   └── StoreUnavailableError           unreachable, or still failing after all retries
    ├── CorruptObjectError                  bytes in the store differ from what was committed
    ├── NotCommittedError (LookupError)     a requested output has not been committed to the store
    ├── CommitRefusedError                  an output is invalid, so nothing was committed
    ├── MixedSpacesError (ValueError)       vectors of different spaces cannot be combined
    ├── DropError (ValueError)              a drop is invalid or cannot be processed
    │   ├── InvalidDropNameError
    │   ├── UnknownDropError                the drop is not registered
    │   ├── DropConflictError               the name belongs to another source already
    │   ├── InvalidBoxesError               a file of a detector's boxes cannot be used
    │   ├── DropBlockedError                a check of this run stopped the drop
    │   └── DropUnusableError               too few of the drop's files are usable photographs
    ├── InvalidLabelsError (ValueError)     a file or folder of labels cannot be used
    ├── DropsFailedError                    some drops of a run failed; the others are committed
    ├── SourceError (OSError)               a folder or list of photographs, or a file in it, cannot be read
    ├── InvalidVectorsError (ValueError)    embeddings are not a matrix (N, D) of finite numbers
    ├── NotFittedError (ValueError)         a map was used before it was fitted
    ├── TooFewLabelsError (ValueError)      too few labels, classes or places for a figure that can be trusted
    ├── UnusableImageError (ValueError)     one file is not a usable photograph; a run quarantines it
    ├── DiskFullError (OSError)             a disk of this machine has too little free space
    ├── TargetError (OSError)               an output file cannot be written
    ├── ServiceError (OSError)              an embedding service does not answer, is not ready, or refuses
    ├── InvalidModelFileError (ValueError)  a model file cannot be checked: it cannot be opened or run
    └── CheckpointError                     a checkpoint cannot be used
        ├── CheckpointNotFoundError (FileNotFoundError)
        │   ├── AuthenticationError         token missing or rejected, or access not granted
        │   ├── RepositoryNotFoundError     the Hub has no such repository, or this token may not see it
        │   ├── RevisionNotFoundError       the repository has no such branch, tag or commit
        │   └── LocalEntryNotFoundError     the Hub is unreachable, and files are missing on this machine
        │       └── ChecksumError           downloaded bytes differ from the Hub's checksum
        ├── CheckpointChangedError          the weights differ from those stored under the same name
        └── InvalidCheckpointError (ValueError)   files incomplete, contradictory or unsupported

A message says what failed, the value seen, what was expected and what to do next. It never shows secrets,
or paths that the caller did not name. A ``reason`` attribute holds a short word that does not change when
the message is reworded, so that programs can rely on it.

Errors about the Hub are raised as subclasses, which ``weights/hub/errors.py`` defines. The subclasses also
derive from huggingface_hub's classes, so that code which catches those classes still works. They are not
defined here, because importing huggingface_hub would add 0.15 s to every start.
"""

import errno
from typing import Literal


class DinoAssetsError(Exception):
    """Base class of all errors that dino_assets raises on purpose."""


def public_name(err: DinoAssetsError) -> str:
    """Return the public name of an error: the name of its class, if this module defines the class.

    For a class of another module, return the name of the nearest base class that this module defines.
    """
    return name_publicly(type(err))


def name_publicly(kind: type[DinoAssetsError]) -> str:
    """Return the public name of an error class, as ``public_name`` does for an error."""
    return next(parent.__name__ for parent in kind.__mro__ if parent.__module__ == __name__)


class ConfigError(DinoAssetsError, ValueError):
    """A setting or an argument is invalid.

    ``setting`` and ``value`` are the name and value of what is invalid, if known. ``reason`` is a short,
    stable word.
    """

    def __init__(
        self, message: str = "", *, setting: str = "", value: object = None, reason: str = ""
    ) -> None:
        self.setting = setting
        self.value = value
        self.reason = reason
        super().__init__(message)


class DeviceUnavailableError(ConfigError):
    """A named compute device is not available on this machine."""


class DeviceMemoryError(DinoAssetsError, MemoryError):
    """A device has too little memory; ``device_said`` is the driver's own message."""

    def __init__(self, message: str, *, device_said: str = "") -> None:
        self.device_said = device_said
        super().__init__(message)


class EngineRefusedError(DinoAssetsError):
    """No engine's results agree with PyTorch's in float32; ``refused`` has a reason for each engine."""

    def __init__(self, message: str, *, refused: tuple[str, ...] = ()) -> None:
        self.refused = refused
        super().__init__(message)


class WorkerLostError(DinoAssetsError):
    """A worker process ended unexpectedly.

    ``exit_code`` is its exit code, or the negative number of the signal that ended it, or None if unknown.
    """

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class MissingExtraError(DinoAssetsError, ImportError):
    """An optional dependency is not installed; ``extra`` is the name of the extra to install."""

    def __init__(self, what: str, *, extra: str) -> None:
        self.extra = extra
        super().__init__(
            f"{what} needs an optional package. Install it with: pip install 'dino-assets[{extra}]'"
        )


class StoreError(DinoAssetsError, OSError):
    """An operation on a store failed; ``store`` is the store's address, ``key`` the key of the object.

    ``reason`` is empty, or a short, stable word in a case that callers handle. ``no-bucket``: the bucket does
    not exist. ``odd-key``: the store has an object whose key is not valid; ``odd_key`` is this key.
    """

    def __init__(
        self, message: str, *, store: str = "", key: str = "", reason: str = "", odd_key: str = ""
    ) -> None:
        self.store = store
        self.key = key
        self.reason = reason
        self.odd_key = odd_key
        super().__init__(message)


class ObjectNotFoundError(StoreError, FileNotFoundError):
    """No object has this key."""


class ObjectExistsError(StoreError, FileExistsError):
    """An object could not be created, because another object has this key already."""


class StoreAccessError(StoreError, PermissionError):
    """The store refused the credentials, or they do not allow this operation."""


class StoreFullError(StoreError):
    """The store has no space left."""


class StoreUnavailableError(StoreError):
    """The store could not be reached, or still failed after all retries."""


class CorruptObjectError(DinoAssetsError):
    """A committed object is missing (then ``is_gone`` is True), or its bytes differ from the committed ones.

    ``sha256`` is the checksum of the bytes that were read. ``is_steady`` is False if a second read gave other
    bytes than the first. Then the bytes were altered on the way, or another program is writing the object.
    """

    def __init__(
        self, message: str, *, store: str, key: str, is_gone: bool = False, sha256: str = ""
    ) -> None:
        self.store = store
        self.key = key
        self.is_gone = is_gone
        self.sha256 = sha256
        self.is_steady = True
        super().__init__(message)


class NotCommittedError(DinoAssetsError, LookupError):
    """A requested output has not been committed to the store.

    ``output`` is its name. ``reason`` is a short, stable word if the output exists without the requested
    content (``no-table``, ``no-patches``, ``no-row``), or if there is no store (``no-store``).
    """

    def __init__(self, message: str, *, output: str = "", reason: str = "") -> None:
        self.output = output
        self.reason = reason
        super().__init__(message)


class CommitRefusedError(DinoAssetsError):
    """An output is invalid, so nothing was committed.

    ``column`` is the column with invalid values, ``first`` names the first invalid row or image, and ``file``
    names the invalid file; each is empty if it does not apply. ``reason`` is a short, stable word.
    """

    def __init__(
        self, message: str, *, column: str = "", first: str = "", reason: str = "", file: str = ""
    ) -> None:
        self.column = column
        self.first = first
        self.reason = reason
        self.file = file
        super().__init__(message)


class MixedSpacesError(DinoAssetsError, ValueError):
    """Vectors of different spaces cannot be compared; ``spaces`` are the spaces of the vectors."""

    def __init__(self, message: str, *, spaces: tuple[object, ...] = ()) -> None:
        self.spaces = spaces
        super().__init__(message)


class DropError(DinoAssetsError, ValueError):
    """A drop is invalid or cannot be processed; ``drop`` is its name, ``reason`` a short, stable word."""

    def __init__(self, message: str, *, drop: str = "", reason: str = "") -> None:
        self.drop = drop
        self.reason = reason
        super().__init__(message)


class InvalidDropNameError(DropError):
    """The name cannot be a drop's name, because Dagster could not use it as a partition key."""


class UnknownDropError(DropError):
    """No drop is registered under this name."""


class DropConflictError(DropError):
    """The name belongs to another source already."""


class InvalidBoxesError(DropError):
    """A file or folder with a detector's boxes cannot be used; ``path`` is its path as it was given.

    ``reason`` is a short, stable word: ``missing``, ``unreadable``, ``too-large``, ``not-json``,
    ``other-format``, ``no-box`` (the file has no box that can be used), or ``damaged`` (in the store).
    """

    def __init__(self, message: str, *, drop: str = "", reason: str = "", path: str = "") -> None:
        self.path = path
        super().__init__(message, drop=drop, reason=reason)


class InvalidLabelsError(DinoAssetsError, ValueError):
    """A file or folder of labels cannot be used; ``path`` is its path, ``where`` the row or entry at fault.

    ``reason`` is a short, stable word: ``missing``, ``unreadable``, ``too-large``, ``not-json``, ``not-xml``,
    ``not-csv``, ``not-zip``, ``other-format``, ``no-label`` (no row has a class), or ``columns`` (a table
    lacks columns).
    """

    def __init__(self, message: str, *, path: str = "", where: str = "", reason: str = "") -> None:
        self.path = path
        self.where = where
        self.reason = reason
        super().__init__(message)


class DropBlockedError(DropError):
    """A check of this run stopped all later steps for the drop; ``reason`` is the check's name."""


class DropUnusableError(DropError):
    """Too few files of the drop are usable photographs."""


class DropsFailedError(DinoAssetsError):
    """Some drops of a run failed; ``failures`` maps these drops to their errors. The others are committed."""

    def __init__(self, message: str, *, failures: "dict[str, Exception]") -> None:
        self.failures = failures
        super().__init__(message)


class SourceError(DinoAssetsError, OSError):
    """A folder or list of photographs, such as an inbox, cannot be read, or a file in it cannot be read.

    ``reason`` is a short, stable word, ``path`` the path as it was given, ``line`` the line number in a list.
    """

    def __init__(self, *args: object, reason: str = "", path: str = "", line: int = 0) -> None:
        self.reason = reason
        self.path = path
        self.line = line
        super().__init__(*args)


class InvalidVectorsError(DinoAssetsError, ValueError):
    """Embeddings are not a matrix (N, D) of finite numbers.

    ``row`` is the first invalid row, or -1 if no single row is at fault. ``dims`` are the two values of D if
    vectors of two lengths were given, else None.
    """

    def __init__(self, message: str, *, row: int = -1, dims: tuple[int, int] | None = None) -> None:
        self.row = row
        self.dims = dims
        super().__init__(message)


class NotFittedError(DinoAssetsError, ValueError, AttributeError):
    """A map was used before ``fit_transform`` made it.

    It also has the base classes of scikit-learn's NotFittedError.
    """


class TooFewLabelsError(DinoAssetsError, ValueError):
    """There are too few labels: ``labels`` can be used, and ``expected`` is the least number."""

    def __init__(self, message: str = "", *, labels: int = 0, expected: int = 0) -> None:
        self.labels = labels
        self.expected = expected
        super().__init__(message)


class UnusableImageError(DinoAssetsError, ValueError):
    """One file is not a usable photograph; ``reason`` is a short, stable word, ``detail`` says more."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class UnusableImageWarning(UserWarning):
    """A picture was left out; ``image_id`` names it, ``reason`` is the same word as in UnusableImageError.

    >>> import warnings
    >>> from dino_assets import UnusableImageWarning, embed
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     result = embed("config.json", model="models/demo", progress=False)
    >>> caught[0].message.image_id, len(result.vectors)
    ('config.json', 0)
    """

    def __init__(self, message: str, *, image_id: str = "", reason: str = "") -> None:
        self.image_id = image_id
        self.reason = reason
        super().__init__(message)


class DiskFullError(DinoAssetsError, OSError):
    """A disk of this machine has too little free space.

    ``needed_bytes`` and ``free_bytes`` are 0 if they are unknown.
    """

    def __init__(self, message: str, *, needed_bytes: int = 0, free_bytes: int = 0) -> None:
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        super().__init__(errno.ENOSPC, message)

    def __str__(self) -> str:
        return str(self.args[1])


class TargetError(DinoAssetsError, OSError):
    """An output file cannot be written.

    ``path`` is its path. ``reason`` is a short, stable word: ``denied`` (no permission), ``no-folder`` (a
    file is where a folder is expected), ``is-a-folder``, ``occupied`` (a folder with other files), or
    ``refused`` (any other cause).
    """

    def __init__(self, message: str, *, path: str = "", reason: str = "") -> None:
        self.path = path
        self.reason = reason
        super().__init__(message)


CheckpointFault = Literal[
    "missing",  # a file, a tensor, or all weights
    "unreadable",  # damaged, truncated, or in another format than the file's name says
    "impossible",  # a value that no model can have
    "mismatch",  # files or values of different models
    "unsupported",  # another family, layout, dtype or kind of file
    "outside",  # refers to files outside of the folder
    "code",  # loading it could run code
    "altered",  # a file has other bytes than were recorded
]


class CheckpointError(DinoAssetsError):
    """A checkpoint cannot be used.

    ``file`` is the faulty file, ``key`` the field or tensor, and ``reason`` the kind of fault, if known.
    """

    file = key = ""
    reason: CheckpointFault | None = None

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        key: str = "",
        reason: CheckpointFault | None = None,
    ) -> None:
        self.file, self.key, self.reason = file, key, reason
        super().__init__(message)


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no checkpoint at the expected place."""


class AuthenticationError(CheckpointNotFoundError):
    """The Hub's token is missing, rejected or without access to the model.

    ``has_token`` is True if a token was sent.
    """

    has_token = False


class RepositoryNotFoundError(CheckpointNotFoundError):
    """The Hub has no such repository, or this token has no access to it."""


class RevisionNotFoundError(CheckpointNotFoundError):
    """The repository has no such branch, tag or commit."""


class LocalEntryNotFoundError(CheckpointNotFoundError):
    """The Hub is unreachable or disabled, and not all files are on this machine.

    ``problem`` is the cause; ``may_pass`` is True if the cause may be temporary. If a file is incomplete,
    ``file`` is its name and ``here_bytes`` the number of its bytes on this machine.
    """

    def __init__(
        self,
        message: str = "",
        *,
        problem: str = "",
        may_pass: bool = False,
        file: str = "",
        here_bytes: int = 0,
    ) -> None:
        super().__init__(message)
        self.may_pass = may_pass
        self.problem = problem
        self.file = file
        self.here_bytes = here_bytes


class ChecksumError(LocalEntryNotFoundError):
    """Downloaded bytes differ from the Hub's checksum, even at the second attempt."""


class CheckpointChangedError(CheckpointError):
    """The configured model has other weights than are stored under its name.

    The run was not allowed to accept the change.
    """


class InvalidCheckpointError(CheckpointError, ValueError):
    """A checkpoint is incomplete or unsupported, or its files contradict each other."""


class InvalidModelFileError(DinoAssetsError, ValueError):
    """A model file cannot be checked: it cannot be opened or run on pictures; ``file`` is its name."""

    def __init__(self, message: str = "", *, file: str = "") -> None:
        self.file = file
        super().__init__(message)


class ServiceError(DinoAssetsError, OSError):
    """A request to an embedding service failed.

    ``reason`` is a short, stable word: ``no-answer``, ``not-a-service``, ``not-ready``, or the ``slug`` of
    the service's error answer. ``status`` is the HTTP status, or 0 if there was no answer.
    """

    def __init__(self, message: str, *, url: str = "", reason: str = "", status: int = 0) -> None:
        self.url = url
        self.reason = reason
        self.status = status
        super().__init__(message)
