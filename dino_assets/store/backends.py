"""Connections to S3 and Azure buckets through obstore, with their time limits.

Each bucket is opened twice, by two clients. The first client makes single requests. A request fails when no
byte arrives in time, and the store repeats it (retrying.py). The second client sends objects in pieces, and
itself repeats a piece that failed. obstore limits only the total time of a piece, not the time without
progress.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from obstore import exceptions as obstore_errors
from obstore import store

from dino_assets.errors import ConfigError, MissingExtraError
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.settings.urls import checked_endpoint

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# Which of the two clients is opened: for single requests, or for objects in pieces.
Purpose = Literal["requests", "pieces"]
MOST_PIECE_BYTES = 8 * 2**20


def open_s3(settings: StorageSettings, *, bucket: str, prefix: str, purpose: Purpose) -> Any:
    """Open a bucket of an S3-compatible server, with one of the two clients (``purpose``).

    Raises:
        ConfigError: the endpoint is not a valid address, one of the two keys is missing, or the profile
            does not exist.
        MissingExtraError: a profile is set, and boto3 is not installed.
    """
    options: dict[str, Any] = {
        "endpoint": checked_endpoint(settings.endpoint, url=settings.url),
        "region": settings.region or "us-east-1",
        "access_key_id": settings.access_key,
        "secret_access_key": settings.secret_key,
        "session_token": settings.session_token,
    }
    if bool(settings.access_key) != bool(settings.secret_key):
        missing = "secret key" if settings.access_key else "access key"
        raise ConfigError(
            f"storage {settings.url!r}: the {missing} is missing. Set both keys, or neither.",
            reason="credentials",
        )
    if settings.profile and not settings.access_key:
        options["credential_provider"] = _profile_credentials(settings.profile)
    if settings.endpoint:
        # MinIO-style servers use one host name for all buckets.
        options["virtual_hosted_style_request"] = False
    return store.S3Store(
        bucket,
        prefix=prefix or None,
        client_options=_client_options(
            settings.limits, purpose, allow_http=bool(settings.endpoint)
        ),
        retry_config=_retries(settings.limits, purpose),
        **{name: value for name, value in options.items() if value is not None},
    )


def _profile_credentials(profile: str) -> Any:
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as err:
        raise MissingExtraError(f"The AWS profile {profile!r}", extra="s3") from err
    try:
        return Boto3CredentialProvider(boto3.Session(profile_name=profile))
    except (BotoCoreError, ValueError):
        raise ConfigError(
            f"the AWS profile {profile!r} does not exist or holds no credentials. "
            "Check AWS_PROFILE and ~/.aws.",
            reason="profile",
        ) from None


def open_azure(settings: StorageSettings, *, bucket: str, prefix: str, purpose: Purpose) -> Any:
    """Open a container of an Azure storage account, with one of the two clients (``purpose``).

    Raises:
        ConfigError: the connection string lacks a field, or has an invalid endpoint or key.
    """
    fields = dict(
        item.split("=", 1)
        for item in (settings.azure_connection_string or "").split(";")
        if "=" in item
    )
    account, key = fields.get("AccountName"), fields.get("AccountKey")
    signature = fields.get("SharedAccessSignature")
    if not account or not (key or signature):
        raise ConfigError(
            f"storage {settings.url!r}: AZURE_STORAGE_CONNECTION_STRING has "
            f"{', '.join(sorted(fields)) or 'no fields'}; AccountName and AccountKey (or "
            "SharedAccessSignature) are needed.",
            reason="credentials",
        )
    options: dict[str, Any] = {"account_name": account, "account_key": key}
    if signature:
        options = {"account_name": account, "sas_key": signature}
    # Read protocol and suffix: sovereign clouds (core.chinacloudapi.cn) differ only in the suffix.
    protocol = fields.get("DefaultEndpointsProtocol") or "https"
    suffix = fields.get("EndpointSuffix") or "core.windows.net"
    endpoint = fields.get("BlobEndpoint") or f"{protocol}://{account}.blob.{suffix}"
    options["endpoint"] = checked_endpoint(endpoint, url=settings.url)
    try:
        return store.AzureStore(
            bucket,
            prefix=prefix or None,
            client_options=_client_options(
                settings.limits, purpose, allow_http=endpoint.startswith("http://")
            ),
            retry_config=_retries(settings.limits, purpose),
            **options,
        )
    except (obstore_errors.BaseError, ValueError):
        pass  # obstore's text may quote the key: raised here, our error would carry it as its context
    raise ConfigError(
        f"storage {settings.url!r}: AZURE_STORAGE_CONNECTION_STRING cannot be used. Check that the "
        "AccountKey is complete (base64).",
        reason="credentials",
    )


def _client_options(limits: RequestLimits, purpose: Purpose, *, allow_http: bool) -> "ClientConfig":
    options: ClientConfig = {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=limits.connect_s),
    }
    if purpose == "pieces":
        return options | {"timeout": timedelta(seconds=limits.piece_s)}
    # Practically no limit on the whole time: obstore's default of 30 s would end requests that still move.
    return options | {
        "timeout": timedelta(days=7),
        "read_timeout": timedelta(seconds=limits.stall_s),
    }


def _retries(limits: RequestLimits, purpose: Purpose) -> "RetryConfig":
    if purpose == "requests":
        return {"max_retries": 0}
    return {
        "max_retries": limits.retries,
        "retry_timeout": timedelta(seconds=limits.piece_s + limits.retry_for_s),
        "backoff": {
            "init_backoff": timedelta(milliseconds=200),
            "max_backoff": timedelta(seconds=5),
            "base": 2,
        },
    }


# Keys are values of ``Scheme.backend`` (settings/urls.py). Each opener returns an obstore store.
OPENERS: dict[str, Callable[..., Any]] = {
    "s3": open_s3,
    "azure": open_azure,
    "memory": lambda settings, *, bucket, prefix, purpose: store.MemoryStore(),
}
