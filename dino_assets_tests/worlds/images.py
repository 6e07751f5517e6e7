"""Images built without a daemon, by buildah, on a base that debootstrap makes."""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dino_assets_tests.conftest import REPOSITORY

# runc, since crun 1.8 refuses machines with both kinds of cgroups.
TOOLS = ("buildah", "debootstrap", "runc")
SUITE = "bookworm"  # its python3 is 3.11, for which the locks are made
BASE = "localhost/base"
# What of this machine's pip configuration an image's build needs; the rest is about installing here.
PIP_OPTIONS = ("cert", "extra-index-url", "find-links", "index-url", "proxy", "trusted-host")
# Each word names a folder or a file here, or an address.
_WORDS = ("find-links", "extra-index-url")


def _run(
    command: list[str], *, limit_s: float = 120, **options: Any
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=limit_s, **options
    )


def install_tools() -> None:
    """Install buildah, debootstrap and runc where they lack; skip the test where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("images are built in a chroot, which needs root")
    if all(map(shutil.which, TOOLS)):
        return
    if not shutil.which("apt-get"):
        pytest.skip(f"{', '.join(TOOLS)} are not here, and there is no apt-get to install them by")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        _run(["apt-get", "update", "-qq"], limit_s=120, env=environment)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *TOOLS]
        _run(command, limit_s=240, env=environment)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as err:
        pytest.skip(f"apt-get cannot install {', '.join(TOOLS)}: {str(err.stderr)[-300:]}")


@dataclass(frozen=True)
class ImageStore:
    """Buildah with everything that it keeps in one folder."""

    folder: Path

    def buildah(self, *arguments: str, limit_s: float = 120) -> str:
        """Run a command of buildah; gives what it printed.

        Raises:
            AssertionError: it failed; with what it printed last.
        """
        places = ["--root", str(self.folder / "root"), "--runroot", str(self.folder / "run")]
        command = ["buildah", *places, "--storage-driver", self.driver, *arguments]
        environment = {
            **os.environ,
            "TMPDIR": str(self.folder),
        }  # its cache of pip's downloads, too
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, env=environment
        )
        assert process.returncode == 0, (process.stdout[-3000:], process.stderr[-3000:])
        return process.stdout.strip()

    @property
    def driver(self) -> str:
        """``overlay`` copies no layer (a third of the time of ``vfs``), where it can be mounted."""
        return (self.folder / "driver").read_text()

    def make_base(self) -> None:
        """Make an image of Debian with its Python, as ``BASE``; skip the test where Debian is away."""
        (self.folder / "driver").write_text("overlay" if _has_overlay(self.folder) else "vfs")
        tree = self.folder / "debian"
        packages = "--include=python3,python3-venv,ca-certificates"
        try:
            _run(["debootstrap", "--variant=minbase", packages, SUITE, str(tree)], limit_s=240)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as err:
            pytest.skip(f"debootstrap makes no {SUITE} here: {str(err.stderr or err)[-300:]}")
        archive = self.folder / "debian.tar"
        patterns = ("./proc/*", "./sys/*", "./dev/*", "./var/cache/apt/*", "./var/lib/apt/lists/*")
        options = [f"--exclude={each}" for each in patterns]
        _run(["tar", "-C", str(tree), *options, "-cf", str(archive), "."])
        shutil.rmtree(tree)
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, str(archive), "/")
        self.buildah("commit", "--quiet", "--rm", container, BASE)
        archive.unlink()

    def build(self, target: str) -> None:
        """Build a target of deploy/Dockerfile with this machine's pip configuration as a secret."""
        text, paths = read_pip_configuration()
        secret = self.folder / "pip.conf"
        secret.write_text(text)
        self.buildah(
            *("build", "--isolation", "chroot", "--format", "docker", "--pull-never"),
            *("--build-arg", f"BASE={BASE}", "--build-arg", "REVISION=tested"),
            *("--secret", f"id=pip.conf,src={secret}"),
            *(f"--volume={path}:{path}:ro" for path in paths),
            *("--file", str(REPOSITORY / "deploy" / "Dockerfile")),
            *("--target", target, "--tag", target, str(REPOSITORY)),
            limit_s=600,
        )

    def read_config(self, image: str) -> dict[str, Any]:
        """What an image says of how it is run."""
        description = json.loads(self.buildah("inspect", "--type", "image", image))
        config = description["Docker"]["config"]
        assert isinstance(config, dict)
        return config

    def mount(self, image: str) -> Path:
        """The files of an image."""
        self.buildah("from", "--pull-never", "--name", f"{image}-run", image)
        return Path(self.buildah("mount", f"{image}-run"))

    def remove(self) -> None:
        """Unmount and delete everything, also what a build that failed left."""
        if (self.folder / "driver").is_file():
            self.buildah("umount", "--all")
            self.buildah("rm", "--all")
        for line in reversed(list_mounts(self.folder)):
            subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
        # Some 100,000 files; never through a mount that may be left.
        _run(["rm", "-rf", "--one-file-system", str(self.folder)], limit_s=300)


def list_mounts(folder: Path) -> list[str]:
    """What is mounted below a folder now, a line each: other processes have mounts of their own."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if Path(line.split()[1]).is_relative_to(folder)]


def _has_overlay(folder: Path) -> bool:
    """Whether an overlay can be mounted on this file system."""
    places = {name: folder / "overlay" / name for name in ("lower", "upper", "work", "seen")}
    for place in places.values():
        place.mkdir(parents=True)
    options = "lowerdir={lower},upperdir={upper},workdir={work}".format_map(places)
    command = ["mount", "-t", "overlay", "overlay", "-o", options, str(places["seen"])]
    is_there = subprocess.run(command, capture_output=True).returncode == 0
    if is_there:
        _run(["umount", str(places["seen"])])
    shutil.rmtree(folder / "overlay")
    return is_there


def read_pip_configuration() -> tuple[str, list[Path]]:
    """This machine's configuration of pip as one file, and what it names on this machine's disk."""
    output = _run([sys.executable, "-m", "pip", "config", "list"]).stdout
    values: dict[str, str] = {}
    for line in output.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in PIP_OPTIONS:  # later ones, such as the environment's, win
            values[option] = str(ast.literal_eval(value))
    paths: list[Path] = []
    for option, value in values.items():
        words = value.split() if option in _WORDS else [value]
        # An index on this disk leads to files beside it, which are not in a container.
        words = [word for word in words if not word.startswith("file:")]
        paths += [Path(word) for word in words if Path(word).exists()]
        values[option] = " ".join(words)
    lines = [f"{option} = {value}" for option, value in values.items() if value]
    return "\n".join(["[global]", *lines, ""]), paths
