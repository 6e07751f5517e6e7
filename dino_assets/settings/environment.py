"""Reading of environment variables and ``.env`` into frozen records; no other module reads them."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dino_assets.errors import ConfigError
from dino_assets.settings.api_keys import parse_keys, read_key_file
from dino_assets.settings.env_file import refuse_disagreement, refuse_interpolation
from dino_assets.settings.records import (
    RequestLimits,
    ServingSettings,
    Settings,
    StorageSettings,
)
from dino_assets.settings.spelling import find_unknown
from dino_assets.settings.urls import (
    SCHEMES,
    checked_endpoint,
    expand_path,
    parse_url,
    show_choices,
)

DEFAULT_MODEL = "facebook/dinov2-base"
DEFAULT_STORAGE = "data"
LIMITS = RequestLimits()
_MINIO_DEFAULT = "minioadmin"
# Variables whose values must not appear in messages.
SECRETS = (
    "MINIO_SECRET_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "DINO_FAILURE_WEBHOOK",
    "DINO_API_KEYS",
)


class Environment(BaseSettings):
    """All environment variables that this package reads. An empty variable counts as unset."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", case_sensitive=True)

    DINO_STORAGE: str | None = None
    DINO_MODEL_ID: str = DEFAULT_MODEL
    DINO_MODEL_REVISION: str | None = None
    DINO_INBOX: str = "inbox"
    DINO_IMAGE_ROOTS: str = ""
    DINO_DEVICE: str = "auto"
    DINO_EXECUTOR: str = "in_process"
    DINO_FLIGHT_DAYS: int = Field(default=30, ge=1)
    DINO_FAILURE_WEBHOOK: str | None = None
    DINO_UI_URL: str = "http://127.0.0.1:3000"
    DINO_API_KEYS: str | None = None
    DINO_API_KEYS_FILE: str | None = None
    DINO_SERVE_OPEN: bool = False
    DINO_CORS_ORIGINS: str = ""
    DINO_RETENTION_DAYS: int = Field(default=90, ge=1)
    DINO_UPLOAD_MB: int = Field(default=64, ge=1, le=2048)
    DINO_QUEUE_S: int = Field(default=60, ge=1)

    USE_MINIO: bool | None = None
    MINIO_ENDPOINT: str | None = None
    MINIO_ACCESS_KEY: str | None = None
    MINIO_SECRET_KEY: str | None = None
    MINIO_REGION: str | None = None
    EMBED_BUCKET: str = "embeds"
    AZURE_STORAGE_CONNECTION_STRING: str | None = None

    AWS_ACCESS_KEY_ID: str | None = None
    AWS_SECRET_ACCESS_KEY: str | None = None
    AWS_SESSION_TOKEN: str | None = None
    AWS_PROFILE: str | None = None
    AWS_REGION: str | None = Field(
        default=None, validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION")
    )
    AWS_ENDPOINT_URL: str | None = Field(
        default=None, validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    )

    HF_ENDPOINT: str = "https://huggingface.co"
    HF_HOME: str | None = None
    HF_HUB_CACHE: str | None = None
    HF_HUB_OFFLINE: str | None = Field(
        default=None, validation_alias=AliasChoices("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )
    HF_TOKEN: str | None = Field(
        default=None, validation_alias=AliasChoices("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    )
    HF_TOKEN_PATH: str | None = None
    HF_HUB_DISABLE_IMPLICIT_TOKEN: str | None = None
    XDG_CACHE_HOME: str = "~/.cache"

    @property
    def names_minio(self) -> bool:
        """Whether any ``MINIO_*`` variable is set. Then the store is a MinIO bucket by default."""
        return any(
            (self.MINIO_ENDPOINT, self.MINIO_ACCESS_KEY, self.MINIO_SECRET_KEY, self.MINIO_REGION)
        )


def find_root(start: Path | None = None) -> Path:
    """Find the project's folder: the nearest one with a ``dagster.yaml``, from ``start`` upwards.

    If no folder has one, return ``DAGSTER_HOME`` if that is set, else ``start``. The default of ``start`` is
    the current folder.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dagster.yaml").is_file():
            return folder
    return dagster_home() or here


def find_cache(root: Path | None = None) -> Path:
    """Return the project's folder for caches, such as unpacked checkpoints and memory maps."""
    return (root or find_root()) / ".cache"


def dagster_home() -> Path | None:
    """Read ``DAGSTER_HOME``, which every Dagster command uses; None if it is not set."""
    home = os.environ.get("DAGSTER_HOME")
    return Path(home).resolve() if home else None


def environment_with(**values: str) -> dict[str, str]:
    """Copy the environment for a child process, and set some variables in the copy."""
    return {**os.environ, **values}


def is_in_environment(name: str) -> bool:
    """Check whether the process environment (not ``.env``) has a non-empty variable."""
    return bool(os.environ.get(name))


def load_settings(root: Path | None = None) -> Settings:
    """Read all settings from the environment. ``.env`` in the project's folder fills in unset variables.

    Raises:
        ConfigError: a variable has an invalid value, or two variables contradict each other.
    """
    folder = root or find_root()
    env = read_environment(folder)
    if "://" in env.DINO_INBOX:
        parse_url(env.DINO_INBOX, what="inbox")
    return Settings(
        root=folder,
        storage=_storage(env, folder),
        model=env.DINO_MODEL_ID,
        inbox=env.DINO_INBOX,
        device=env.DINO_DEVICE,
        model_revision=env.DINO_MODEL_REVISION,
        image_roots=_image_roots(env.DINO_IMAGE_ROOTS, folder),
        executor=env.DINO_EXECUTOR,
        flight_days=env.DINO_FLIGHT_DAYS,
        failure_webhook=_web_address("DINO_FAILURE_WEBHOOK", env.DINO_FAILURE_WEBHOOK),
        ui_url=_web_address("DINO_UI_URL", env.DINO_UI_URL) or "",
        serving=_serving(env, folder),
        unknown=find_unknown(folder / ".env", _variables(), now=os.environ),
    )


def _serving(env: Environment, root: Path) -> ServingSettings:
    keys = parse_keys(env.DINO_API_KEYS or "", setting="DINO_API_KEYS")
    if env.DINO_API_KEYS_FILE:
        keys += read_key_file(root / expand_path(env.DINO_API_KEYS_FILE))
    origins = [each.strip().rstrip("/") for each in env.DINO_CORS_ORIGINS.split(",")]
    for origin in filter(None, origins):
        _web_address("DINO_CORS_ORIGINS", origin)
    return ServingSettings(
        keys=keys,
        is_open=env.DINO_SERVE_OPEN,
        cors_origins=tuple(filter(None, origins)),
        retention_days=env.DINO_RETENTION_DAYS,
        upload_bytes=env.DINO_UPLOAD_MB * 10**6,
        queue_s=env.DINO_QUEUE_S,
    )


def list_secrets(root: Path | None = None) -> list[str]:
    """List every secret value in the environment or ``.env``, so that messages can leave it out."""
    env = read_environment(root or find_root())
    return [secret for name in SECRETS if (secret := getattr(env, name))]


def _web_address(name: str, value: str | None) -> str | None:
    """Check that a value is a web address, and return it; None stays None.

    Messages do not show the value, because it may be secret.
    """
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and value.isascii()
        is_web &= parts.port != 0 and not set(value) & set(" \t\r\n")
    except ValueError:
        is_web = False
    if not is_web:
        raise ConfigError(
            f"{name} is not a web address: http://… or https://… with a host is expected.",
            setting=name,
            reason="no-address",
        )
    return value


def _image_roots(text: str, root: Path) -> tuple[Path, ...]:
    """Parse folders, separated as in ``PATH``.

    A folder that does not exist is accepted here, and refused when a list names a file in it.
    """
    try:
        folders = [expand_path(each.strip()) for each in text.split(os.pathsep) if each.strip()]
    except ConfigError as err:
        raise ConfigError(
            f"DINO_IMAGE_ROOTS: {err}", setting="DINO_IMAGE_ROOTS", reason="path"
        ) from None
    return tuple(dict.fromkeys((root / folder).absolute() for folder in folders))


def resolve_storage(url: str | None, *, root: Path | None = None) -> StorageSettings:
    """Make the settings of the store at ``url`` (None: the configured one), with its credentials."""
    folder = root or find_root()
    return _storage(read_environment(folder), folder, url=url)


def read_environment(folder: Path) -> Environment:
    """Read and check every variable of this package.

    Raises:
        ConfigError: a variable has an invalid value, or ``.env`` contradicts the environment.
    """
    try:
        refuse_interpolation(folder / ".env", _variables())
        refuse_disagreement(folder / ".env", _variables(), now=os.environ)
        return Environment(_env_file=folder / ".env")  # type: ignore[call-arg]
    except UnicodeDecodeError:
        raise ConfigError(".env is not UTF-8 text. Save it as UTF-8.", reason="encoding") from None
    except ValidationError as err:
        # pydantic's own message repeats the input, which may be a secret.
        problems = {".".join(map(str, each["loc"])): each["msg"] for each in err.errors()}
        text = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise ConfigError(
            f"cannot read the environment or .env: {text}. Correct the value.",
            setting=", ".join(problems),
            reason="value",
        ) from None


def _variables() -> set[str]:
    """List the names of every variable of this package, including alternative names."""
    names = set(Environment.model_fields)
    for variable in Environment.model_fields.values():
        if isinstance(variable.validation_alias, AliasChoices):
            names.update(str(choice) for choice in variable.validation_alias.choices)
    return names


def _storage(env: Environment, root: Path, *, url: str | None = None) -> StorageSettings:
    """Make the settings of the store at ``url`` (None: the configured one).

    An address with credentials is refused, because Dagster may show the address.
    """
    where = url or env.DINO_STORAGE or _implied_url(env)
    name = parse_url(where).scheme
    scheme = SCHEMES.get(name)
    if scheme is None:
        return StorageSettings(url=where, root=root)
    if not scheme.is_bucket:
        raise ConfigError(
            f"storage {where!r} is in memory and would be lost when the process ends: use {show_choices()}",
            reason="memory",
        )
    if scheme.backend == "azure":
        return _azure_storage(env, root, where)
    if scheme.backend == "s3":
        return _s3_storage(env, root, where, is_minio=name == "minio")
    return StorageSettings(url=where, root=root)  # without credentials from the environment


def _azure_storage(env: Environment, root: Path, url: str) -> StorageSettings:
    if not env.AZURE_STORAGE_CONNECTION_STRING:
        raise ConfigError(
            f"storage {url!r} needs AZURE_STORAGE_CONNECTION_STRING. Copy it from the storage "
            "account's 'Access keys' page into the environment or .env.",
            reason="credentials",
        )
    return StorageSettings(
        limits=LIMITS,
        url=url,
        root=root,
        azure_connection_string=env.AZURE_STORAGE_CONNECTION_STRING,
    )


def _s3_storage(env: Environment, root: Path, url: str, *, is_minio: bool) -> StorageSettings:
    if is_minio or (env.names_minio and not env.AWS_ACCESS_KEY_ID):
        return StorageSettings(
            limits=LIMITS,
            url=url,
            root=root,
            endpoint=_endpoint(env.MINIO_ENDPOINT or "localhost:9000", url=url),
            region=env.MINIO_REGION or env.AWS_REGION or "us-east-1",
            access_key=env.MINIO_ACCESS_KEY or _MINIO_DEFAULT,
            secret_key=env.MINIO_SECRET_KEY or _MINIO_DEFAULT,
            variables={"access_key": "MINIO_ACCESS_KEY", "secret_key": "MINIO_SECRET_KEY"},
        )
    return StorageSettings(
        limits=LIMITS,
        url=url,
        root=root,
        endpoint=_endpoint(env.AWS_ENDPOINT_URL, url=url),
        region=env.AWS_REGION,
        access_key=env.AWS_ACCESS_KEY_ID,
        secret_key=env.AWS_SECRET_ACCESS_KEY,
        session_token=env.AWS_SESSION_TOKEN,
        profile=env.AWS_PROFILE,
        variables={
            "access_key": "AWS_ACCESS_KEY_ID",
            "secret_key": "AWS_SECRET_ACCESS_KEY",
            "session_token": "AWS_SESSION_TOKEN",
        },
    )


def _implied_url(env: Environment) -> str:
    """Choose the storage by ``USE_MINIO`` and ``MINIO_*`` when ``DINO_STORAGE`` is not set."""
    if env.USE_MINIO is False:
        if env.names_minio:
            raise ConfigError(
                "USE_MINIO is false, but MINIO_* variables are set. Unset USE_MINIO or the MINIO_* "
                "variables, or set DINO_STORAGE.",
                reason="contradiction",
            )
        return f"az://{env.EMBED_BUCKET}"
    if env.USE_MINIO or env.names_minio:
        return f"minio://{env.EMBED_BUCKET}"
    return DEFAULT_STORAGE


def _endpoint(endpoint: str | None, *, url: str) -> str | None:
    return checked_endpoint(normalise_endpoint(endpoint), url=url) if endpoint else None


def normalise_endpoint(endpoint: str) -> str:
    """Add ``http://`` where the scheme is missing, as in ``localhost:9000``."""
    return (endpoint if "://" in endpoint else f"http://{endpoint}").rstrip("/")
