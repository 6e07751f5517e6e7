"""Every error this package raises on purpose.

DinoAssetsError
├── ConfigError (ValueError)            a setting or an argument that cannot work
│   └── DeviceUnavailableError          a device was asked for by name and is not there
├── DeviceMemoryError (MemoryError)     not even one tile fits onto the device
├── EngineRefusedError                  no engine gives the reference's numbers
├── WorkerLostError                     a process that computed shards was killed
├── MissingExtraError (ImportError)     an optional dependency is needed: names the extra
├── StoreError (OSError)                the object store refused or failed
│   ├── ObjectNotFoundError (FileNotFoundError)
│   ├── ObjectExistsError (FileExistsError)   create-if-absent found the key taken
│   ├── StoreAccessError (PermissionError)    credentials missing, wrong or not enough
│   ├── StoreFullError                  no space left
│   └── StoreUnavailableError           unreachable or failing after bounded retries
├── CorruptObjectError                  bytes in the store are not what was committed
├── NotCommittedError (LookupError)     an output was asked for that nobody has made yet
├── CommitRefusedError                  a promise about an output does not hold: nothing was committed
├── MixedSpacesError (ValueError)       vectors of two spaces, or of none, were to be put together
├── DropError (ValueError)
│   ├── InvalidDropNameError
│   ├── UnknownDropError                the drop was never registered
│   ├── DropConflictError               the name stands for another source already
│   ├── DropBlockedError                a check of this run stopped the drop
│   └── DropUnusableError               too few of the drop's files are usable photographs
├── DropsFailedError                    some drops of a run failed; the others are committed
├── SourceError (OSError)               an inbox cannot be listed or read
├── InvalidVectorsError (ValueError)    embeddings are not finite numbers (N, D)
├── NotFittedError (ValueError)         a map was asked about before it was made
├── UnusableImageError (ValueError)     one file is not a usable photograph (becomes a row, not a failure)
├── DiskFullError (OSError)             this machine's disk has no room for what is wanted
├── TargetError (OSError)               a file that was asked for cannot be written where it should go
├── ServiceError (OSError)              an embedding service does not answer, is not ready, or refuses
├── InvalidModelFileError (ValueError)  a model file that is to be checked cannot be opened or asked
└── CheckpointError
    ├── CheckpointNotFoundError (FileNotFoundError)
    │   ├── AuthenticationError         no token, a rejected one, or access not granted: says which
    │   ├── RepositoryNotFoundError     the Hub has no such repository, or hides it
    │   ├── RevisionNotFoundError       the repository has no such branch, tag or commit
    │   └── LocalEntryNotFoundError     out of reach, and not (or not whole) on this machine
    │       └── ChecksumError           what arrives is not what the Hub lists
    ├── CheckpointChangedError          other weights than the store's, under the same name
    └── InvalidCheckpointError (ValueError)

A message says what happened, the value seen, what was expected and what to do next. Paths and
secrets that the caller did not name never appear in one.

Those about the Hub are raised as the subclasses in ``weights/hub/errors.py``, which are huggingface_hub's
classes too, so that older ``except`` clauses catch them: importing it here would cost every start 0.15 s.
"""

import errno
from typing import Literal


class DinoAssetsError(Exception):
    """Base of all errors raised on purpose by dino_assets."""


def public_name(err: DinoAssetsError) -> str:
    """The name of an error in this tree, whatever else it is."""
    return name_publicly(type(err))


def name_publicly(kind: type[DinoAssetsError]) -> str:
    """The name of a class of errors in this tree, or of the one that it is derived from."""
    return next(parent.__name__ for parent in kind.__mro__ if parent.__module__ == __name__)


class ConfigError(DinoAssetsError, ValueError):
    """A setting or argument cannot work as given.

    ``setting`` and ``value`` say which, where it is one; ``reason`` is a short, stable word for why.
    """

    def __init__(
        self, message: str = "", *, setting: str = "", value: object = None, reason: str = ""
    ) -> None:
        self.setting = setting
        self.value = value
        self.reason = reason
        super().__init__(message)


class DeviceUnavailableError(ConfigError):
    """A compute device was asked for by name and this machine does not have it."""


class DeviceMemoryError(DinoAssetsError, MemoryError):
    """A device has no room for what was asked of it; ``device_said`` is the driver's own sentence."""

    def __init__(self, message: str, *, device_said: str = "") -> None:
        self.device_said = device_said
        super().__init__(message)


class EngineRefusedError(DinoAssetsError):
    """No engine here computes a checkpoint as the reference does; ``refused`` says why, each."""

    def __init__(self, message: str, *, refused: tuple[str, ...] = ()) -> None:
        self.refused = refused
        super().__init__(message)


class WorkerLostError(DinoAssetsError):
    """A process that computed for this one is gone; ``exit_code`` is negative for a signal."""

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class MissingExtraError(DinoAssetsError, ImportError):
    """An optional dependency is needed; ``extra`` is what to install."""

    def __init__(self, what: str, *, extra: str) -> None:
        self.extra = extra
        super().__init__(
            f"{what} needs an optional package. Install it with: pip install 'dino-assets[{extra}]'"
        )


class StoreError(DinoAssetsError, OSError):
    """A store operation failed; ``store`` and ``key`` say where.

    ``reason`` is a short, stable word where callers act on it: ``no-bucket``, or ``odd-key`` for a
    listing with a key that obstore cannot read (``odd_key``).
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
    """Create-if-absent found an object under this key."""


class StoreAccessError(StoreError, PermissionError):
    """The store refused the credentials, or they do not allow this operation."""


class StoreFullError(StoreError):
    """The store has no space left."""


class StoreUnavailableError(StoreError):
    """The store could not be reached, or kept failing after bounded retries."""


class CorruptObjectError(DinoAssetsError):
    """Bytes read from the store differ from what was committed; ``is_gone`` if there are none.

    ``sha256`` is that of the bytes read. Not ``is_steady`` says that another read gave others: they are
    altered on the way from the store, or by whoever writes right now.
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
    """An output was asked for that has not been committed.

    ``output`` is its name; ``reason`` is a short, stable word where it is there, but not what is
    asked of it: ``no-table``, ``no-patches``, ``no-row``; or ``no-store``.
    """

    def __init__(self, message: str, *, output: str = "", reason: str = "") -> None:
        self.output = output
        self.reason = reason
        super().__init__(message)


class CommitRefusedError(DinoAssetsError):
    """A promise about an output does not hold, so nothing was committed.

    ``column`` and ``first`` name the first row that breaks it, where it is one; ``file`` the file
    that did, and ``reason`` how.
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
    """Vectors of different spaces mean nothing to each other; ``spaces`` are those seen."""

    def __init__(self, message: str, *, spaces: tuple[object, ...] = ()) -> None:
        self.spaces = spaces
        super().__init__(message)


class DropError(DinoAssetsError, ValueError):
    """Something about a drop cannot work; ``drop`` is its name, ``reason`` a short, stable word."""

    def __init__(self, message: str, *, drop: str = "", reason: str = "") -> None:
        self.drop = drop
        self.reason = reason
        super().__init__(message)


class InvalidDropNameError(DropError):
    """The name cannot be a partition key."""


class UnknownDropError(DropError):
    """No drop is registered under this name."""


class DropConflictError(DropError):
    """The name already stands for another source."""


class DropBlockedError(DropError):
    """A check of this run says that nothing should follow from the drop; ``reason`` is the check."""


class DropUnusableError(DropError):
    """Too few files of the drop are usable photographs."""


class DropsFailedError(DinoAssetsError):
    """Some drops of a run failed; ``failures`` maps each to its error, the rest is committed."""

    def __init__(self, message: str, *, failures: "dict[str, Exception]") -> None:
        self.failures = failures
        super().__init__(message)


class SourceError(DinoAssetsError, OSError):
    """An inbox cannot be listed, or a file in it cannot be read.

    ``reason`` is a short, stable word for why, ``path`` what it is about, as it was given, ``line``
    where in it, of a list.
    """

    def __init__(self, *args: object, reason: str = "", path: str = "", line: int = 0) -> None:
        self.reason = reason
        self.path = path
        self.line = line
        super().__init__(*args)


class InvalidVectorsError(DinoAssetsError, ValueError):
    """Embeddings that nothing can be computed from.

    ``row`` is the first bad one, -1 for all; ``dims`` are the two sizes that differ, where that is it.
    """

    def __init__(self, message: str, *, row: int = -1, dims: tuple[int, int] | None = None) -> None:
        self.row = row
        self.dims = dims
        super().__init__(message)


class NotFittedError(DinoAssetsError, ValueError, AttributeError):
    """Something was asked of a map that has not been made yet; scikit-learn's own error has these bases."""


class UnusableImageError(DinoAssetsError, ValueError):
    """One file is not a usable photograph; ``reason`` is a short, stable word for it."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class UnusableImageWarning(UserWarning):
    """A picture was skipped; ``image_id`` says which, ``reason`` is that of an UnusableImageError."""

    def __init__(self, message: str, *, image_id: str = "", reason: str = "") -> None:
        self.image_id = image_id
        self.reason = reason
        super().__init__(message)


class DiskFullError(DinoAssetsError, OSError):
    """A disk of this machine has no room; ``needed_bytes`` and ``free_bytes`` say how much is short."""

    def __init__(self, message: str, *, needed_bytes: int = 0, free_bytes: int = 0) -> None:
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        super().__init__(errno.ENOSPC, message)

    def __str__(self) -> str:
        return str(self.args[1])


class TargetError(DinoAssetsError, OSError):
    """A file that a person asked for cannot be written.

    ``path`` is where it should go, ``reason`` a short, stable word for why: ``denied``, ``no-folder``,
    ``is-a-folder``, ``occupied`` (a folder with other things), ``refused``.
    """

    def __init__(self, message: str, *, path: str = "", reason: str = "") -> None:
        self.path = path
        self.reason = reason
        super().__init__(message)


CheckpointFault = Literal[
    "missing",  # a file, a tensor, or weights at all
    "unreadable",  # damaged, cut short, or not what its name says
    "impossible",  # a value that no model has
    "mismatch",  # files, or values in them, of different models
    "unsupported",  # another family, layout, dtype or kind of file
    "outside",  # it leads to files elsewhere
    "code",  # loading it could run code
    "altered",  # not the bytes that it was
]


class CheckpointError(DinoAssetsError):
    """A checkpoint is unusable.

    Where it is one, ``file`` is the file at fault, ``key`` the field or tensor, ``reason`` what is
    wrong with it.
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
    """There is no checkpoint where one was expected."""


class AuthenticationError(CheckpointNotFoundError):
    """The Hub wants a token, a better one, or its owner's consent; ``has_token``: one was sent."""

    has_token = False


class RepositoryNotFoundError(CheckpointNotFoundError):
    """The Hub has no such repository, or none that this token may see."""


class RevisionNotFoundError(CheckpointNotFoundError):
    """The repository has no such branch, tag or commit."""


class LocalEntryNotFoundError(CheckpointNotFoundError):
    """The Hub is out of reach or switched off, and the files are not all on this machine.

    ``problem`` is why, and ``may_pass`` whether it may be otherwise in a minute; where one file is not
    whole, ``file`` is which, and ``here_bytes`` are here.
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
    """What arrives is, even the second time, not what the Hub lists."""


class CheckpointChangedError(CheckpointError):
    """The configured model has other weights than it had, and nobody said that they are wanted."""


class InvalidCheckpointError(CheckpointError, ValueError):
    """A checkpoint directory is incomplete or its files contradict each other."""


class InvalidModelFileError(DinoAssetsError, ValueError):
    """A model that is to be checked cannot be opened, or takes no pictures; ``file`` is its name."""

    def __init__(self, message: str = "", *, file: str = "") -> None:
        self.file = file
        super().__init__(message)


class ServiceError(DinoAssetsError, OSError):
    """A service of ours that was asked by HTTP did not do what was asked.

    ``reason`` is a short, stable word: ``no-answer``, ``not-a-service``, ``not-ready``, or the slug that
    the service gave; ``status`` is the answer's, 0 where there was none.
    """

    def __init__(self, message: str, *, url: str = "", reason: str = "", status: int = 0) -> None:
        self.url = url
        self.reason = reason
        self.status = status
        super().__init__(message)
