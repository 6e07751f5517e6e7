"""Fixtures that several tests here need."""

from collections.abc import Callable

import pytest

from dino_assets.cli import main


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that fails: exit code 1, and on stderr the error's class and a sentence."""

    def run(kind: type[Exception], *command: str) -> str:
        capsys.readouterr()
        assert main(command) == 1
        error, _, sentence = capsys.readouterr().err.partition(": ")
        assert error.splitlines()[-1] == kind.__name__
        return sentence

    return run
