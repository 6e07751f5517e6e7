"""Creation of S3 buckets by boto3, which obstore cannot do."""

from typing import Any

from dino_assets.errors import (
    ConfigError,
    MissingExtraError,
    StoreAccessError,
    StoreError,
    StoreUnavailableError,
)
from dino_assets.settings.records import StorageSettings
from dino_assets.settings.urls import SCHEMES, checked_endpoint, parse_url


def create_bucket(settings: StorageSettings) -> bool:
    """Create the bucket of an S3 address; return False if it exists already.

    Raises:
        ConfigError: the address is not an S3 bucket, or the AWS profile does not exist.
        MissingExtraError: the extra ``s3`` is not installed.
        StoreError: the server refused, or cannot be reached.
    """
    url = parse_url(settings.url)
    if not url.scheme or SCHEMES[url.scheme].backend != "s3":
        raise ConfigError(
            f"storage {settings.url!r} is not an S3 bucket. Only S3 buckets can be created here.",
            reason="no-bucket",
        )
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as err:
        raise MissingExtraError("Creating a bucket", extra="s3") from err
    try:
        session = boto3.Session(profile_name=settings.profile)
    except BotoCoreError:
        raise ConfigError(
            f"there is no AWS profile {settings.profile!r}. Check AWS_PROFILE and ~/.aws.",
            reason="profile",
        ) from None
    client = session.client(
        "s3",
        endpoint_url=checked_endpoint(settings.endpoint, url=settings.url),
        region_name=settings.region or "us-east-1",
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
        # Older S3 clones reject the checksums that boto3 adds by default since 1.36.
        config=Config(
            connect_timeout=settings.limits.connect_s,
            read_timeout=settings.limits.stall_s,
            retries={"total_max_attempts": min(settings.limits.retries, 5) + 1, "mode": "standard"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    region = settings.region
    where = {} if region in (None, "us-east-1") else {"LocationConstraint": region}
    try:
        if _has_bucket(client, url.bucket):
            return False
        client.create_bucket(
            Bucket=url.bucket, **({"CreateBucketConfiguration": where} if where else {})
        )
    except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        return False
    except ClientError as err:
        # The server's own text may repeat credentials: only status and code are shown.
        code = str(err.response.get("Error", {}).get("Code", ""))
        status = err.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        kind = StoreAccessError if status in (401, 403) else StoreError
        failure = kind(
            f"the bucket of {settings.url!r} cannot be created: the server answered {status} {code}",
            store=settings.url,
        )
    except BotoCoreError as err:
        failure = StoreUnavailableError(
            f"the bucket of {settings.url!r} cannot be created: {err}", store=settings.url
        )
    else:
        return True
    raise failure


def _has_bucket(client: Any, bucket: str) -> bool:
    # Check before creating: in us-east-1, creating one's own bucket again succeeds.
    try:
        client.head_bucket(Bucket=bucket)
    except client.exceptions.ClientError as err:
        if err.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True
