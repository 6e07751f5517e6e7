"""The locks of the images: hashed, at the versions of requirements.lock, and whole."""

import base64
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from dino_assets_tests.conftest import REPOSITORY, photo_bytes
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.runpod_sdk import SDK
from dino_assets_tests.worlds.servers import HOST, free_port, running
from dino_assets_tests.worlds.serving import wait_until

DEPLOY = REPOSITORY / "deploy"
IMAGES = ("service", "endpoint")
LOCKS = (*IMAGES, "build")
# What the lineage needs and no image does; CUDA would be gigabytes.
UNWANTED = {
    "dagster", "dagster-webserver", "numba", "pandas", "pytest", "ruff", "scikit-learn", "scipy",
    "triton", "umap-learn",
}  # fmt: skip
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def read_entries(name: str) -> dict[str, tuple[Version, list[str]]]:
    """Version and hashes of each package of a lock."""
    text = (DEPLOY / f"{name}.lock").read_text()
    entries = {}
    for entry in re.sub(r"\\\n", " ", text).splitlines():
        if entry.strip() and not entry.lstrip().startswith("#"):
            pin, *hashes = entry.split("--hash=sha256:")
            package, version = pin.strip().split("==")
            entries[canonicalize_name(package)] = (Version(version), [h.strip() for h in hashes])
    return entries


def read_inputs(name: str) -> set[str]:
    lines = (DEPLOY / f"{name}.in").read_text().splitlines()
    return {canonicalize_name(line) for line in lines if line and not line.startswith("#")}


def read_pins() -> dict[str, str]:
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins.items()}


@pytest.mark.parametrize("name", LOCKS)
def test_locks__every_package_has_hashes(name: str):
    entries = read_entries(name)
    assert entries
    for package, (_, hashes) in entries.items():
        assert hashes, package
        assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes), package


@pytest.mark.parametrize("name", LOCKS)
def test_locks__versions_are_those_of_the_requirements_lock(name: str):
    pins = read_pins()
    entries = read_entries(name)
    versions = {
        package: version.public for package, (version, _) in entries.items() if package in pins
    }
    assert versions == {package: pins[package] for package in versions}
    if name != "endpoint":  # RunPod's SDK brings what nothing else here uses
        assert set(entries) <= set(pins)


@pytest.mark.parametrize("name", LOCKS)
def test_locks__made_of_their_inputs(name: str):
    assert read_inputs(name) <= set(read_entries(name))


def test_locks__inputs_are_requirements_of_the_project():
    extras = PROJECT["project"]["optional-dependencies"]
    core = {
        canonicalize_name(Requirement(each).name) for each in PROJECT["project"]["dependencies"]
    }
    of = {
        name: {canonicalize_name(Requirement(each).name) for each in extras[name]}
        for name in ("serve", "runpod")
    }
    assert read_inputs("service") - core == of["serve"]
    assert read_inputs("endpoint") - core == of["runpod"]
    builders = PROJECT["build-system"]["requires"]
    assert read_inputs("build") == {Requirement(each).name for each in builders}


@pytest.mark.parametrize("name", IMAGES)
def test_locks__nothing_of_the_lineage_and_no_cuda(name: str):
    entries = read_entries(name)
    assert not UNWANTED & set(entries)
    assert not [package for package in entries if package.startswith(("nvidia", "cuda"))]
    version, hashes = entries["torch"]
    assert version.local == "cpu"  # PyPI's own build never matches
    assert len(hashes) == 1


def test_locks__the_sdk_that_is_tested():
    package, version = SDK.split("==")
    assert read_entries("endpoint")[package][0] == Version(version)


@pytest.fixture
def with_packages_of(tmp_path: Path) -> Callable[..., list[str]]:
    """A Python that has the packages of a lock, as they are installed here, and nothing else."""

    def make(name: str, program: str, *arguments: str) -> list[str]:
        site_packages = Path(sysconfig.get_path("purelib"))
        folder = tmp_path / "packages"
        folder.mkdir()
        for package in read_entries(name):
            try:
                files = distribution(package).files or ()
            except (
                PackageNotFoundError
            ):  # RunPod's SDK, which no test here imports, and what it brings
                continue
            for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
                place = folder / top
                if not place.exists():
                    place.symlink_to(site_packages / top)
        (own_info,) = site_packages.glob("dino_assets-*.dist-info")
        (folder / own_info.name).symlink_to(own_info)
        paths = f"import sys; sys.path += [{str(REPOSITORY)!r}, {str(folder)!r}]; "
        # Isolated, and without the site's own packages.
        return [sys.executable, "-I", "-S", "-c", paths + program, *arguments]

    return make


@pytest.mark.slow
def test_service_lock__is_all_that_the_service_needs(with_packages_of, tmp_path: Path, monkeypatch):
    write_sample(tmp_path / "tiny", "dinov2")
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("DINO_MODEL_ID", str(tmp_path / "tiny"))
    port = free_port()
    url = f"http://{HOST}:{port}"
    program = "from dino_assets.cli import main; sys.exit(main(sys.argv[1:]))"
    command = with_packages_of("service", program, "serve", "--port", str(port))
    with running(command, url=f"{url}/health", log=tmp_path / "log", cwd=tmp_path):
        wait_until(lambda: httpx.get(f"{url}/ready", timeout=30).status_code == 200, limit_s=90)
        upload = {"file": ("a.png", photo_bytes(40, 40, kind="PNG"))}
        answer = httpx.post(f"{url}/embed", files=upload, timeout=60)
        assert answer.status_code == 200, (tmp_path / "log").read_text()
        assert httpx.get(f"{url}/metrics").status_code == 200
        assert httpx.get(f"{url}/openapi.json").status_code == 200


def test_service_lock__other_commands_say_what_lacks(with_packages_of, tmp_path: Path):
    command = with_packages_of(
        "service", "from dino_assets.cli import main; sys.exit(main(['doctor']))"
    )
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert "dagster" in process.stderr.lower()


def test_endpoint_lock__is_all_that_the_handler_needs(
    with_packages_of, tmp_path: Path, monkeypatch
):
    write_sample(tmp_path / "tiny", "dinov2")
    monkeypatch.setenv("DINO_MODEL_ID", str(tmp_path / "tiny"))
    image = base64.b64encode(photo_bytes(40, 40, kind="PNG")).decode()
    program = (
        "from dino_assets.serving.handler import handler\n"
        f"print(len(handler({{'input': {{'image': {image!r}}}}})['embedding']))"
    )
    command = with_packages_of("endpoint", program)
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert process.stdout.strip() == "48", process.stderr
