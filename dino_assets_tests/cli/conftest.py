"""Fixtures for the tests of commands."""

from collections.abc import Callable

import pytest

from dino_assets.cli import main


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail with exit code 1; returns its message on stderr."""

    def run(kind: type[Exception], *command: str) -> str:
        capsys.readouterr()
        assert main(command) == 1
        error, _, sentence = capsys.readouterr().err.partition(": ")
        assert error.splitlines()[-1] == kind.__name__
        return sentence

    return run
