"""Addresses and credentials that ``open_store`` and ``create_bucket`` accept and refuse."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dino_assets.errors import ConfigError, StoreAccessError, StoreUnavailableError
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.settings.urls import expand_path, resolve_path
from dino_assets.store.backends import open_azure
from dino_assets.store.buckets import create_bucket
from dino_assets.store.objects import StoreUrl, open_store, parse_url
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.servers import free_port

S3 = StorageSettings(
    url="s3://some-bucket/pre",
    root=Path(),
    endpoint="http://127.0.0.1:1",
    access_key="TheAccess",
    secret_key="The/Secret+Key",
    session_token="TheToken",
)
AZURE_KEY = base64.b64encode(b"an azure key").decode()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data", StoreUrl("", "", "data")),
        ("./a/b", StoreUrl("", "", "./a/b")),
        ("file:///a/b", StoreUrl("", "", "/a/b")),
        ("s3://bucket", StoreUrl("s3", "bucket", "")),
        ("s3://bucket/a/b/", StoreUrl("s3", "bucket", "a/b")),
        ("minio://b.u-cket/my photos", StoreUrl("minio", "b.u-cket", "my photos")),
        ("az://container/x", StoreUrl("az", "container", "x")),
        ("memory://", StoreUrl("memory", "", "")),
    ],
)
def test_parse_url__valid(url: str, expected: StoreUrl):
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("file://", "empty"),
        ("gs://bucket", "scheme"),
        ("http://host/bucket", "scheme"),
        ("s3://", "bucket"),
        ("s3://Bucket", "bucket"),
        ("s3://b", "bucket"),
        ("s3://-bucket", "bucket"),
        ("az://my_container", "bucket"),
        ("s3://" + "b" * 64, "bucket"),
        ("s3://bucket/a/../b", "prefix"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket/a\nb", "prefix"),
    ],
)
def test_parse_url__invalid(url: str, reason: str):
    with raising(ConfigError, reason=reason):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://TheAccess:TheSecret@bucket/x", "s3://…@bucket/x"),
        ("s3://TheAccess:The@Secret@bucket", "s3://…@bucket"),
        ("s3://TheAccess:The?Secret@bucket", "s3://…"),
        ("az://cont?sig=TheSecret", "az://cont?…"),
        ("az://cont/x?sig=The@TheSecret", "az://…"),
        ("s3://TheAccess@bucket?sig=TheSecret", "s3://…@bucket?…"),
        ("gs://TheSecret@bucket", "gs://…@bucket"),
        ("me:TheSecret@s3://bucket", "…://bucket"),
    ],
)
def test_parse_url__message_hides_credentials(url: str, shown: str):
    with raising(
        ConfigError, match=f"^storage {re.escape(shown)} contains", hides="Secret"
    ) as caught:
        parse_url(url)
    assert "TheAccess" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    ["not a url", "127.0.0.1:9000", "ftp://h", "http://", "http://h:x", "http://h?a=b", ""],
)
def test_open_store__endpoint_is_not_an_address(endpoint: str):
    for act in (open_store, create_bucket):
        with raising(ConfigError, reason="endpoint"):
            act(replace(S3, endpoint=endpoint))


def test_open_store__endpoint_with_a_password():
    for act in (open_store, create_bucket):
        with raising(
            ConfigError, match=r"'http://…@host:9000' is not an address", hides="ThePassword"
        ):
            act(replace(S3, endpoint="http://me:ThePassword@host:9000"))


@pytest.mark.parametrize(
    ("missing", "says"),
    [("secret_key", "secret key is missing"), ("access_key", "access key is missing")],
)
def test_open_store__one_of_two_keys_missing(missing: str, says: str):
    with raising(ConfigError, reason="credentials", match=says):
        open_store(replace(S3, **{missing: None}))


def test_open_store__unknown_profile(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    settings = replace(S3, access_key=None, secret_key=None, profile="nobody")
    for act in (open_store, create_bucket):
        with raising(ConfigError, reason="profile"):
            act(settings)


@pytest.mark.parametrize("path", ["~no-such-user-here/x", "a\0b"])
def test_open_store__invalid_path(tmp_path, path: str):
    with raising(ConfigError, reason="path"):
        open_store(StorageSettings(url=path, root=tmp_path))


def test_open_store__path_is_a_file(tmp_path):
    (tmp_path / "f").write_text("")
    for url, reason in (("f", "File exists"), ("f/g", "Not a directory")):
        with raising(
            StoreAccessError,
            match=f"storage '{url}' cannot be made or written as a folder.+{reason}",
            hides=str(tmp_path),
        ) as caught:
            open_store(StorageSettings(url=url, root=tmp_path))
        assert caught.value.__context__ is None


def test_open_store__relative_to_the_root(tmp_path):
    open_store(StorageSettings(url="a/b", root=tmp_path)).put("k", b"x")
    assert (tmp_path / "a/b/k").read_bytes() == b"x"


def test_open_store__azure_needs_no_request():
    for fields in (f"AccountKey={AZURE_KEY}", "SharedAccessSignature=sv=2020&sig=abc%3D"):
        settings = StorageSettings(
            url="az://photos/pre", root=Path(), azure_connection_string=f"AccountName=acct;{fields}"
        )
        assert repr(open_store(settings)) == "ObjectStore('az://photos/pre')"


@pytest.mark.parametrize(
    ("fields", "endpoint"),
    [
        ("", "https://acct.blob.core.windows.net"),
        (";EndpointSuffix=core.windows.net", "https://acct.blob.core.windows.net"),
        (";EndpointSuffix=core.chinacloudapi.cn", "https://acct.blob.core.chinacloudapi.cn"),
        (
            ";DefaultEndpointsProtocol=http;EndpointSuffix=stack.local",
            "http://acct.blob.stack.local",
        ),
        (
            ";BlobEndpoint=http://127.0.0.1:10000/acct;EndpointSuffix=x.y",
            "http://127.0.0.1:10000/acct",
        ),
    ],
)
def test_open_store__azure_endpoint(fields: str, endpoint: str):
    connection = f"AccountName=acct;AccountKey={AZURE_KEY}{fields}"
    settings = StorageSettings(url="az://photos", root=Path(), azure_connection_string=connection)
    azure = open_azure(settings, bucket="photos", prefix="", purpose="requests")
    assert azure.config["endpoint"] == endpoint
    is_plain = azure.client_options["allow_http"] == "true"
    assert is_plain == endpoint.startswith("http://")


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        (None, "has no fields"),
        ("nonsense", "has no fields"),
        ("AccountName=acct", "has AccountName; AccountName and AccountKey"),
        (f"AccountKey={AZURE_KEY}", "has AccountKey;"),
        ("AccountName=acct;AccountKey=not-base64!", "the AccountKey is complete"),
        (f"AccountName=a;AccountKey={AZURE_KEY};BlobEndpoint=nowhere", "expected http://host:port"),
    ],
)
def test_open_store__refuses_invalid_azure_settings(connection: str | None, says: str):
    settings = StorageSettings(url="az://photos", root=Path(), azure_connection_string=connection)
    with pytest.raises(ConfigError, match=says) as caught:
        open_store(settings)
    assert caught.value.__context__ is None
    for secret in (AZURE_KEY, "not-base64!"):
        assert secret not in str(caught.value)


def test_create_bucket__only_if_missing(s3_endpoint: str, tmp_path):
    settings = s3_settings(s3_endpoint, tmp_path)
    assert create_bucket(settings) is False
    assert create_bucket(replace(settings, url=f"{settings.url[:-13]}x")) is True


def test_create_bucket__address_is_not_s3():
    for url in ("data", "az://photos", "memory://"):
        with raising(ConfigError, reason="no-bucket"):
            create_bucket(replace(S3, url=url))


def test_create_bucket__no_server_at_the_endpoint():
    limits = RequestLimits(retries=0)
    with pytest.raises(StoreUnavailableError, match="'s3://some-bucket/pre' cannot be created"):
        create_bucket(replace(S3, endpoint=f"http://127.0.0.1:{free_port()}", limits=limits))


NO_PATHS = [
    ("a\0b", "it has a zero byte"),
    ("\ud800x", "it has characters that no file name has"),
    ("x" * 300, "it is too long"),
    (f"nowhere/{'ä' * 200}/z", "it is too long"),
    ("x/" * 3000, "it is too long"),
]


@pytest.mark.parametrize(("text", "says"), [*NO_PATHS, ("~no-such-user/x", "no such user")])
def test_expand_path__invalid(text: str, says: str):
    for path in (text, Path(text)):
        with raising(ConfigError, reason="path", match=says) as caught:
            expand_path(path)
        sentence = str(caught.value)
        assert sentence.isprintable()
        assert len(sentence) < 200


def test_expand_path__valid(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_path("~/x") == tmp_path / "x"
    assert expand_path(Path("~")) == tmp_path
    for text in ("a/b", "../a", "/a", ".", "a b", "x" * 255, "not-utf-8-\udcff"):
        assert expand_path(text) == Path(text)


@pytest.mark.parametrize("text", [text for text, _ in NO_PATHS])
def test_resolve_path__invalid(text: str):
    with raising(ConfigError, reason="path", value=str(Path(text))):
        resolve_path(Path(text))


def test_resolve_path__links(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (Path("loop"), tmp_path / "loop" / "x"):
        with raising(ConfigError, reason="path"):
            resolve_path(path)
    (tmp_path / "there").symlink_to("nowhere")
    (tmp_path / "file").touch()
    assert resolve_path(Path("there/../x")) == tmp_path / "x"
    assert resolve_path(Path("there")) == tmp_path / "nowhere"
    assert resolve_path(Path("file/x")) == tmp_path / "file" / "x"
