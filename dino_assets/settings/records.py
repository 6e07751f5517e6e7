"""Frozen records of what the environment and ``.env`` say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class RequestLimits:
    """How long and how often a bucket is tried. What moves bytes may take as long as it needs."""

    connect_s: float = 5
    stall_s: float = 20  # without a byte, after which a request is given up and tried again
    retries: int = 30  # more than fit into the time below
    retry_for_s: float = 90  # since the last byte: a server that restarts is outlasted
    piece_s: float = (
        900  # one piece of a larger upload: 8 MiB at 10 kB/s, with four of them on one line
    )


# For who has a time limit of its own, such as a tick of a sensor, or waits for the answer: doctor.
BRIEF_LIMITS = RequestLimits(connect_s=3, stall_s=10, retries=3, retry_for_s=10, piece_s=30)


@dataclass(frozen=True)
class StorageSettings:
    """Where results live and how to get in. Secrets stay out of ``repr``."""

    url: str
    root: Path
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    azure_connection_string: str | None = field(default=None, repr=False)
    # Which variable each secret comes from, for who shows names instead of values (the UI).
    variables: Mapping[str, str] = field(default_factory=dict)
    limits: RequestLimits = RequestLimits()


@dataclass(frozen=True)
class ApiKey:
    """Somebody who may use the service: a name for logs, the sha256 of the key, and what it is good for."""

    name: str
    sha256: bytes = field(repr=False)
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ServingSettings:
    """How the embedding service behaves."""

    keys: tuple[ApiKey, ...] = ()
    is_open: bool = False  # without keys, others than this machine may use it, too
    cors_origins: tuple[str, ...] = ()  # whose pages may call it from a browser
    retention_days: int = 90
    upload_bytes: int = 64 * 10**6  # the largest picture file
    queue_s: int = 60  # of waiting work, above which an upload is refused


@dataclass(frozen=True)
class Settings:
    """Everything the environment and ``.env`` may say, read once."""

    root: Path
    storage: StorageSettings
    model: str
    inbox: str
    device: str
    model_revision: str | None = None
    image_roots: tuple[Path, ...] = ()  # a list may name files in these folders too
    executor: str = "in_process"
    flight_days: int = 30  # without new photographs, after which a check warns
    # Its address is often all that a webhook asks for.
    failure_webhook: str | None = field(default=None, repr=False)
    ui_url: str = "http://127.0.0.1:3000"
    serving: ServingSettings = ServingSettings()
    unknown: tuple[
        str, ...
    ] = ()  # variables that look like ours, each with what was probably meant


def spell_unknown(settings: Settings) -> str:
    """Say which variables have no effect; nothing where all are known."""
    if not settings.unknown:
        return ""
    verb = "is no setting and has" if len(settings.unknown) == 1 else "are no settings and have"
    return f"{', '.join(settings.unknown)} {verb} no effect. README lists all settings"


@dataclass(frozen=True)
class HubSettings:
    """The Hugging Face Hub as the environment or ``.env`` name it."""

    endpoint: str
    home: Path
    cache: Path
    is_offline: bool
    token: str | None = field(repr=False)
    token_file: Path | None = None  # where it was, or would have been; None where nobody may look
