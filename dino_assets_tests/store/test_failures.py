"""Errors of the store: their class, what they name, and the secrets that they must not show."""

import os
import shutil
import subprocess
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from dino_assets.errors import (
    ConfigError,
    ObjectNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from dino_assets.settings.records import RequestLimits, StorageSettings
from dino_assets.store.buckets import create_bucket
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.worlds.answering import answer, answering
from dino_assets_tests.worlds.outputs import full_draft, local_file
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.servers import free_port

ACCESS, SECRET, TOKEN = "TheAccessKey", "The/Secret+Key", "TheSessionToken"


def all_text_of(err: BaseException) -> str:
    """Collect all text that a log of this error could contain, including suppressed contexts."""
    text, chain = "", err
    while chain is not None:
        text += "".join(traceback.format_exception_only(chain)) + repr(chain) + repr(vars(chain))
        chain = chain.__cause__ or chain.__context__
    return text + "".join(traceback.format_exception(err))


def calls(store: ObjectStore, key: str = "some/key"):
    """List every operation of a store by name."""
    return {
        "put": lambda: store.put(key, b"x"),
        "put_chunks": lambda: store.put_chunks(key, iter([b"x"])),
        "get": lambda: store.get(key),
        "get_range": lambda: store.get_range(key, start=0, length=1),
        "head": lambda: store.head(key),
        "list": lambda: list(store.list(key)),
        "move": lambda: store.move(key, "other/key"),
        "delete": lambda: store.delete(key),
    }


def s3_at(endpoint: str, url: str = "s3://some-bucket/pre") -> StorageSettings:
    return StorageSettings(
        url=url,
        root=Path(),
        endpoint=endpoint,
        access_key=ACCESS,
        secret_key=SECRET,
        session_token=TOKEN,
        limits=RequestLimits(retries=1, stall_s=1),
    )


def test_local__no_error_shows_the_absolute_path(tmp_path):
    root = tmp_path / "a folder ä 'quoted'"
    root.mkdir()
    store = open_store(StorageSettings(url="store", root=root))
    store.put("file", b"x")
    store.put("folder/file", b"x")
    calls_that_fail = [
        lambda: store.put("folder", b""),  # a directory
        lambda: store.put("file/below", b""),  # below a file
        lambda: store.put_chunks("file/below", iter([b""])),
        lambda: store.put("file", b"", if_absent=True),
        lambda: store.move("file", "file/below"),
        lambda: store.get_range("file", start=9, length=1),
        lambda: store.delete("folder"),
        lambda: store.put("x" * 300, b""),
        lambda: store.get("missing"),
        lambda: store.get("a\0b"),
        lambda: store.head("missing"),
        lambda: store.move("missing", "x"),
    ]
    for provoke in calls_that_fail:
        with pytest.raises((StoreError, ConfigError)) as caught:
            provoke()
        text = all_text_of(caught.value)
        assert str(tmp_path) not in text
        assert "quoted" not in text
        assert "'store'" in text
    with pytest.raises(StoreError, match="put 'folder' in store 'store': Is a directory"):
        store.put("folder", b"")


def test_local__full_disk(small_disk: Path, tmp_path: Path):
    store = open_store(StorageSettings(url="store", root=small_disk))
    store.put("small", b"x")
    for write in (
        lambda: store.put("big/one", bytes(2 * 2**20)),
        lambda: store.put_chunks("big/one", iter([bytes(2 * 2**20)])),
    ):
        with raising(StoreFullError, key="big/one", store="store") as caught:
            write()
        assert str(small_disk) not in all_text_of(caught.value)
        assert [info.key for info in store.list()] == ["small"]
    with pytest.raises(StoreFullError):
        commit(store, full_draft(store, local_file(tmp_path, bytes(2 * 2**20))))
    assert [i.key for i in store.list("manifests")] == []


def test_local__read_only_disk(small_disk: Path):
    store = open_store(StorageSettings(url="store", root=small_disk))
    store.put("some/key", b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for verb in ("put", "put_chunks", "move", "delete"):
        with raising(StoreAccessError, key="some/key", store="store"):
            calls(store)[verb]()
    assert store.get("some/key") == b"x"


def test_local__folder_of_another_user():
    if os.geteuid() != 0:
        pytest.skip("switching to another user needs root")
    root = Path(tempfile.mkdtemp(prefix="other-user-"))
    try:
        root.chmod(0o755)
        store = open_store(StorageSettings(url="store", root=root))
        store.put("some/key", b"x")
        (root / "store/some/key").chmod(0o600)
        os.seteuid(65534)
        try:
            for verb in ("put", "put_chunks", "get", "get_range", "delete"):
                with raising(StoreAccessError, key="some/key", store="store") as caught:
                    calls(store)[verb]()
                assert str(root) not in all_text_of(caught.value)
            with raising(StoreAccessError, store="other"):
                open_store(StorageSettings(url="other", root=root))
        finally:
            os.seteuid(0)
    finally:
        shutil.rmtree(root)


def test_s3__no_such_bucket(s3_endpoint: str, tmp_path):
    settings = replace(s3_settings(s3_endpoint, tmp_path), url="s3://not-there/pre")
    for verb, call in calls(open_store(settings)).items():
        if verb == "head":
            continue  # a response to HEAD has no body with an error code
        with raising(StoreError, reason="no-bucket", store="s3://not-there/pre") as caught:
            call()
        assert not isinstance(caught.value, ObjectNotFoundError), verb
        assert caught.value.store == "s3://not-there/pre"


BODIES = {
    403: f"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><Message>{SECRET}</Message>"
    f"<AWSAccessKeyId>{ACCESS}</AWSAccessKeyId><Token-0>{TOKEN}</Token-0></Error>",
    401: f"who is {ACCESS}, {SECRET}, {TOKEN}?",
    400: f"<Error><Code>InvalidToken</Code><Token-0>{TOKEN} {SECRET} {ACCESS}</Token-0></Error>",
    507: f"<Error><Code>XMinioStorageFull</Code>{TOKEN} {SECRET} {ACCESS}</Error>",
    500: f"{TOKEN} {SECRET} {ACCESS}",
    404: f"<html>{TOKEN} {SECRET} {ACCESS}</html>",
}
CLASSES = {
    403: (StoreAccessError, "access denied.+403 Forbidden"),
    401: (StoreAccessError, "access denied.+401 Unauthorized"),
    400: (StoreError, "400 Bad Request"),
    507: (StoreFullError, "no space left"),
    500: (StoreUnavailableError, "temporarily unavailable.+500 Internal Server Error"),
    404: (StoreError, "404 Not Found|the object does not exist"),
}


@pytest.mark.parametrize("code", CLASSES)
def test_s3__refusal_names_the_key_and_no_secret(code: int):
    with answering(lambda h, n: answer(h, code, BODIES[code].encode())) as server:
        store = open_store(s3_at(server.endpoint))
        for verb, call in calls(store).items():
            if code == 404 and verb == "delete":
                continue  # deleting a missing object is no error
            kind, pattern = CLASSES[code]
            with pytest.raises(kind, match=pattern) as caught:
                call()
            err = caught.value
            assert err.store == "s3://some-bucket/pre"
            assert err.key == "some/key"
            assert "'some/key' in store 's3://some-bucket/pre'" in str(err)
            text = all_text_of(err)
            assert not [secret for secret in (ACCESS, SECRET, TOKEN) if secret in text], verb
        with pytest.raises(StoreError) as caught:
            store.put("some/key", b"x")
        # A failed put never reports a missing object.
        assert not isinstance(caught.value, ObjectNotFoundError)
        if code not in (404, 507):
            with raising(StoreError, store="s3://some-bucket/pre") as caught:
                create_bucket(s3_at(server.endpoint))
            text = all_text_of(caught.value)
            assert not [secret for secret in (ACCESS, SECRET, TOKEN) if secret in text]
            assert isinstance(caught.value, StoreAccessError) == (code in (401, 403))


def test_s3__not_an_s3_server():
    with answering(lambda h, n: answer(h, 200, f"<html><br>{SECRET}</html>".encode())) as server:
        store = open_store(s3_at(server.endpoint))
        with raising(StoreError, key="a", store="s3://some-bucket/pre") as caught:
            list(store.list("a"))
        assert SECRET not in all_text_of(caught.value)


def test_s3__no_server_at_the_endpoint():
    store = open_store(s3_at(f"http://127.0.0.1:{free_port()}"))
    for call in calls(store).values():
        with pytest.raises(
            StoreUnavailableError, match="Check that it is running and that"
        ) as caught:
            call()
        assert not [
            secret for secret in (ACCESS, SECRET, TOKEN) if secret in all_text_of(caught.value)
        ]


def test_azure__denied_without_the_signature():
    with answering(lambda h, n: answer(h, 403, b"no: sv=1&sig=Azure%2FSecret")) as server:
        fields = f"AccountName=acct;SharedAccessSignature=sv=1&sig=Azure%2FSecret;BlobEndpoint={server.endpoint}/acct"
        store = open_store(
            StorageSettings(url="az://photos/pre", root=Path(), azure_connection_string=fields)
        )
        for call in calls(store).values():
            with raising(StoreAccessError, store="az://photos/pre") as caught:
                call()
            assert "Secret" not in all_text_of(caught.value)


def test_repr__no_secrets(s3_endpoint: str):
    settings = replace(s3_at(s3_endpoint), azure_connection_string="AccountKey=AzureSecret")
    store = open_store(settings)
    for text in (repr(settings), repr(store), str(store)):
        assert not [s for s in (ACCESS, SECRET, TOKEN, "AzureSecret") if s in text]
