"""Frozen records of the settings from the environment and ``.env``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class RequestLimits:
    """Time limits and number of retries for requests to a bucket.

    While bytes move, only ``piece_s`` limits a request.
    """

    connect_s: float = 5
    stall_s: float = 20  # seconds without a byte, after which a request fails and is repeated
    retries: int = 30  # usually more than fit into `retry_for_s`
    retry_for_s: float = 90  # counted from the last byte; a server restarts in less
    piece_s: float = 900  # a piece of a larger upload: 8 MiB at 10 kB/s, four pieces at a time


# For callers that have a time limit of their own (ticks of sensors) or keep a person waiting (doctor).
BRIEF_LIMITS = RequestLimits(connect_s=3, stall_s=10, retries=3, retry_for_s=10, piece_s=30)


@dataclass(frozen=True)
class StorageSettings:
    """The address of the store and its credentials. ``repr`` does not show secrets."""

    url: str
    root: Path
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    azure_connection_string: str | None = field(default=None, repr=False)
    # The variable that each secret comes from: the UI shows names instead of values.
    variables: Mapping[str, str] = field(default_factory=dict)
    limits: RequestLimits = RequestLimits()


@dataclass(frozen=True)
class ApiKey:
    """An API key of the service: a name for logs, the sha256 of the key, and its permissions (scopes)."""

    name: str
    sha256: bytes = field(repr=False)
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ServingSettings:
    """Settings of the embedding service."""

    keys: tuple[ApiKey, ...] = ()
    is_open: bool = False  # other machines may use the service too if no keys are configured
    cors_origins: tuple[str, ...] = ()  # web pages from these origins may call it
    retention_days: int = 90
    upload_bytes: int = 64 * 10**6  # the largest picture file
    queue_s: int = 60  # seconds of waiting work, above which an upload is refused


@dataclass(frozen=True)
class Settings:
    """All settings from the environment and ``.env``, read once."""

    root: Path
    storage: StorageSettings
    model: str
    inbox: str
    device: str
    model_revision: str | None = None
    image_roots: tuple[Path, ...] = ()  # lists may name files in these folders, too
    executor: str = "in_process"
    flight_days: int = 30  # days without new photographs, after which a check warns
    # Secret: many webhooks accept posts from everybody who has the address.
    failure_webhook: str | None = field(default=None, repr=False)
    ui_url: str = "http://127.0.0.1:3000"
    serving: ServingSettings = ServingSettings()
    unknown: tuple[str, ...] = ()  # unknown DINO_* variables, each with the closest known name


def describe_unknown(settings: Settings) -> str:
    """Write the warning about unknown variables; empty if there are none."""
    if not settings.unknown:
        return ""
    verb = "is not a setting and has" if len(settings.unknown) == 1 else "are not settings and have"
    return (
        f"{', '.join(settings.unknown)} {verb} no effect. docs/configuration.md lists all settings"
    )


@dataclass(frozen=True)
class HubSettings:
    """Settings of the Hugging Face Hub: address, folders, token."""

    endpoint: str
    home: Path
    cache: Path
    is_offline: bool
    token: str | None = field(repr=False)
    token_file: Path | None = None  # the file in which a token was looked for; None if in no file
