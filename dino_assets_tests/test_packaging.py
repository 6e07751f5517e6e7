"""The package's metadata."""

import tomllib

from packaging.specifiers import SpecifierSet

from dino_assets_tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PYTHON = "Programming Language :: Python :: "


def test_classifiers__supported_python_versions():
    versions = {c.removeprefix(PYTHON) for c in PROJECT["classifiers"] if c.startswith(PYTHON)}
    specifier = SpecifierSet(PROJECT["requires-python"])
    minors = {f"3.{minor}" for minor in range(20) if f"3.{minor}.1" in specifier}
    assert versions == {"3", *minors}


def test_classifiers__sorted_and_the_licence_once():
    assert PROJECT["classifiers"] == sorted(set(PROJECT["classifiers"]))
    assert PROJECT["license"] == "Apache-2.0"
    assert not [c for c in PROJECT["classifiers"] if c.startswith("License ::")]
