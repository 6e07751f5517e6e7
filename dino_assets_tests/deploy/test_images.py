"""Both images, built and run here without a daemon: as another user, read-only, without rights."""

import base64
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import numpy as np
import pytest

from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.containers import WORK, Container, list_remains, running_container
from dino_assets_tests.worlds.images import ImageStore, install_tools, list_mounts
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.servers import HOST, free_port, silent_server
from dino_assets_tests.worlds.serving import wait_until

pytestmark = pytest.mark.slow
KEY = "a-key-of-the-tests"
UID = 10001


@pytest.fixture
def images() -> Iterator[ImageStore]:
    install_tools()
    # On the disk: `make test` has its files in memory, and these are 5 GB.
    store = ImageStore(Path(mkdtemp(prefix="dino-assets-images-", dir="/var/tmp")))
    try:
        store.make_base()
        yield store
    finally:
        store.remove()
    assert list_mounts(store.folder) == []
    assert list_remains() == []


@dataclass(frozen=True)
class Image:
    """A built image and where its containers keep what they write."""

    files: Path
    config: dict[str, Any]
    folder: Path

    def run(
        self, command: list[str] | None = None, **environment: str
    ) -> AbstractContextManager[Container]:
        """Run it with an empty folder for data and one for the cache, as volumes would be."""
        home = self.folder / f"run-{len(list(self.folder.glob('run-*')))}"
        mounts = {self.folder / "tiny": "/models/tiny"}
        for name in ("data", ".cache"):
            volume = home / name
            volume.mkdir(parents=True)
            os.chown(volume, UID, UID)
            mounts[volume] = f"{WORK}/{name}"
        return running_container(
            self.files,
            self.config,
            home,
            environment={"DINO_MODEL_ID": "/models/tiny", **environment},
            mounts=mounts,
            command=command,
        )


def make_image(images: ImageStore, target: str, folder: Path) -> Image:
    images.build(target)
    write_sample(folder / "tiny", "dinov2")
    for path in (folder / "tiny").iterdir():
        path.chmod(0o644)
    return Image(images.mount(target), images.read_config(target), folder)


def wait_for(container: Container, url: str) -> None:
    def answers() -> bool:
        assert container.process.poll() is None, container.log.read_text()
        with suppress(httpx.HTTPError):
            return httpx.get(url, timeout=30).status_code == 200
        return False

    wait_until(answers, limit_s=120)


def check_confinement(container: Container) -> None:
    """It is no root, has no right of root's, and is the first process of its own."""
    status = container.read_status()
    assert status["Uid"].split() == [str(UID)] * 4
    assert status["Gid"].split() == [str(UID)] * 4
    assert int(status["CapEff"], 16) == 0
    assert status["NSpid"].split()[-1] == "1"
    process = container.execute("touch", "/opt/venv/x", f"{WORK}/x")
    assert process.stderr.count("Read-only file system") == 2


def check_service_answers_and_ends(service: Image) -> None:
    port = free_port()
    url = f"http://{HOST}:{port}"
    command = [*service.config["Cmd"], "--port", str(port)]
    with service.run(command, DINO_API_KEYS=f"tests:{KEY}") as container:
        wait_for(container, f"{url}/ready")
        check_confinement(container)
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
        photo = photo_bytes(640, 480)
        upload = {"file": ("photo.jpg", photo)}
        assert httpx.post(f"{url}/embed", files=upload).status_code == 401
        response = httpx.post(
            f"{url}/embed", files=upload, headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        )
        assert response.status_code == 200, container.log.read_text()
        answer = response.json()
        assert answer["num_tiles"] == 1
        assert answer["metadata"]["original_size"] == [640, 480]
        # The program of the health check, at this test's port.
        kind, *check = service.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        assert ":8000/health" in check[-1]
        healthy_check = [word.replace(":8000/", f":{port}/") for word in check]
        assert container.execute(*healthy_check).returncode == 0
        absent_check = [word.replace(":8000/", f":{free_port()}/") for word in check]
        assert container.execute(*absent_check).returncode == 1
        # Only Python's own processes, one of which is the service.
        processes = container.execute("sh", "-c", "ls -d /proc/[0-9]*").stdout.split()
        assert "/proc/1" in processes
        assert len(processes) <= 3  # the service, and sh with ls
        assert container.stop() == 0
    file = container.log.parent / answer["embedding_uri"]
    with np.load(file) as arrays:
        assert list(arrays["embeddings"].shape) == answer["shape"]
    assert file.stat().st_uid == UID


def check_service_listens_for_others_only_with_keys(service: Image) -> None:
    with service.run() as container:
        assert container.process.wait(60) == 1
        log = container.log.read_text()
    assert log.startswith("ConfigError: ")
    assert "DINO_API_KEYS" in log
    assert "DINO_SERVE_OPEN=true" in log


def check_service_ends_while_its_model_is_awaited(service: Image) -> None:
    """A first process is not ended by a signal that it does not handle: not even by ``docker stop``."""
    with silent_server() as (address, wait_for_client):
        model = {"DINO_MODEL_ID": "facebook/dinov2-small", "HF_ENDPOINT": address}
        with service.run(**model, DINO_API_KEYS=f"tests:{KEY}") as container:
            wait_for_client()
            assert container.stop(limit_s=20) == 0


def check_service_holds_what_it_needs_and_nothing_else(service: Image) -> None:
    packages = next(service.files.glob("opt/venv/lib/python3*/site-packages"))
    assert (packages / "dino_assets" / "py.typed").is_file()
    for name in ("dagster", "umap", "pytest", "nvidia", "dino_assets_tests"):
        assert not (packages / name).exists(), name
    assert not list(service.files.glob("root/.cache/pip/*"))
    assert not (service.files / "etc" / "pip.conf").exists()
    assert not (service.files / "locks").exists()
    assert list((service.files / WORK.strip("/")).glob("*/*")) == []
    labels = service.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "dino-assets-service"
    assert labels["org.opencontainers.image.revision"] == "tested"


def check_endpoint_answers_and_ends(endpoint: Image) -> None:
    port = free_port()
    url = f"http://{HOST}:{port}"
    options = ["--rp_serve_api", "--rp_api_host", HOST, "--rp_api_port", str(port)]
    with endpoint.run([*endpoint.config["Cmd"], *options]) as container:
        wait_for(container, f"{url}/openapi.json")
        check_confinement(container)
        image = base64.b64encode(photo_bytes(90, 120, kind="PNG")).decode()
        response = httpx.post(f"{url}/runsync", json={"input": {"image": image}}, timeout=60)
        answer = response.json()
        assert answer["status"] == "COMPLETED", (answer, container.log.read_text())
        assert len(answer["output"]["embedding"]) == 48
        assert container.stop() == 0


def test_images__are_built_and_run(images: ImageStore, tmp_path: Path):
    """One test for both: each process of the tests that has a part of it would build 5 GB again."""
    service = make_image(images, "service", tmp_path / "service")
    check_service_holds_what_it_needs_and_nothing_else(service)
    check_service_listens_for_others_only_with_keys(service)
    check_service_ends_while_its_model_is_awaited(service)
    check_service_answers_and_ends(service)
    check_endpoint_answers_and_ends(make_image(images, "endpoint", tmp_path / "endpoint"))
