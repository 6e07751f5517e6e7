"""Stores of other makers, each a real server: OpenStack Swift's S3 (signed, on a disk) and Azurite.

Neither belongs to what `make install` brings: they are installed into a folder of the test, which takes
half a minute and a package registry; where that does not work, their tests are skipped.
"""

import base64
import contextlib
import getpass
import hmac
import subprocess
import sys
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from dino_assets.settings.records import StorageSettings
from dino_assets.store.buckets import create_bucket
from dino_assets_tests.worlds.servers import HOST, free_port, running

AZURITE = "azurite@3"
SWIFT = ("swift==2.38.0", "setuptools<81")
ACCOUNT = "devstoreaccount1"
# Azurite's own, the same everywhere; no secret.
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
PIPELINE = (
    "catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth copy slo dlo "
    "versioned_writes symlink proxy-server"
)


def install(*command: str, folder: Path) -> None:
    """Run an installer, or skip the test."""
    try:
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as err:
        pytest.skip(f"{command[0]}: {err}")
    if process.returncode:
        pytest.skip(f"{' '.join(command[:3])}: {process.stderr[-300:]}")


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Azurite in memory; yields a connection string."""
    install("npm", "install", "--no-audit", "--no-fund", AZURITE, folder=folder)
    port = free_port()
    program = str(folder / "node_modules" / ".bin" / "azurite-blob")
    options = ("--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent")
    command = [program, "--blobHost", HOST, "--blobPort", str(port), *options]
    url = f"http://{HOST}:{port}/{ACCOUNT}"
    with running(command, url=url, log=folder / "azurite.log", cwd=folder):
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint={url};"
        )


def make_container(connection: str, name: str) -> None:
    """Make a container: our own commands make buckets of S3 only."""
    url = connection.partition("BlobEndpoint=")[2].rstrip(";")
    ms_headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = ["PUT", *[""] * 11, *(f"{key}:{value}" for key, value in ms_headers.items())]
    lines += [f"/{ACCOUNT}/{ACCOUNT}/{name}", "restype:container"]
    key = base64.b64decode(ACCOUNT_KEY)
    mark = base64.b64encode(hmac.digest(key, "\n".join(lines).encode(), "sha256")).decode()
    headers = {**ms_headers, "Authorization": f"SharedKey {ACCOUNT}:{mark}"}
    assert httpx.put(f"{url}/{name}?restype=container", headers=headers).status_code == 201


@contextlib.contextmanager
def swift(folder: Path) -> Iterator[StorageSettings]:
    """Swift with its S3 interface, one replica on this disk; yields a fresh bucket."""
    install(sys.executable, "-m", "venv", "swift", folder=folder)
    install(str(folder / "swift/bin/pip"), "install", "--quiet", *SWIFT, folder=folder)
    python = folder / "swift" / "bin"
    (folder / "disks" / "sda1").mkdir(parents=True)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\n")
    ports = {name: free_port() for name in ("account", "container", "object", "proxy")}
    for name in ("account", "container", "object"):
        builder = [str(python / "swift-ring-builder"), f"{name}.builder"]
        for order in (
            ["create", "6", "1", "1"],
            ["add", f"r1z1-{HOST}:{ports[name]}/sda1", "1"],
            ["rebalance"],
        ):
            subprocess.run([*builder, *order], cwd=folder, capture_output=True, check=True)
        _write_config(
            folder,
            name,
            ports[name],
            "pipeline = NAME-server\n[app:NAME-server]\nuse = egg:swift#NAME\n",
        )
    filters = "".join(
        f"[filter:{name}]\nuse = egg:swift#{name}\n{_OPTIONS.get(name, '')}"
        for name in PIPELINE.split()[:-1]
    )
    _write_config(
        folder,
        "proxy",
        ports["proxy"],
        f"pipeline = {PIPELINE}\n[app:proxy-server]\nuse = egg:swift#proxy\nallow_account_management = true\n"
        f"account_autocreate = true\n{filters}",
    )
    with contextlib.ExitStack() as servers:
        for name, port in ports.items():
            path = "/healthcheck" if name == "proxy" else "/"
            command = [str(python / f"swift-{name}-server"), str(folder / f"{name}.conf")]
            log = folder / f"swift-{name}.log"
            servers.enter_context(running(command, url=f"http://{HOST}:{port}{path}", log=log))
        storage = StorageSettings(
            url="minio://embeds",
            root=folder,
            endpoint=f"http://{HOST}:{ports['proxy']}",
            region="us-east-1",
            access_key="test:tester",
            secret_key="testing123",
        )
        create_bucket(storage)
        yield storage


_OPTIONS = {
    "tempauth": "user_test_tester = testing123 .admin\n",
    "s3api": "s3_acl = false\nlocation = us-east-1\ncheck_bucket_owner = false\n",
}


def _write_config(folder: Path, name: str, port: int, pipeline: str) -> None:
    (folder / f"{name}.conf").write_text(
        f"[DEFAULT]\nbind_ip = {HOST}\nbind_port = {port}\nworkers = 0\nuser = {getpass.getuser()}\n"
        f"swift_dir = {folder}\ndevices = {folder}/disks\nmount_check = false\n"
        f"[pipeline:main]\n{pipeline.replace('NAME', name)}"
    )
