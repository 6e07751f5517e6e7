"""A fixture that sets variables in the environment or in `.env`."""

from pathlib import Path

import pytest

Variables = dict[str, str]


@pytest.fixture(params=["environment", "dotenv"])
def given(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Sets variables in the environment, then in `.env`: both must have the same effect."""

    def give(**values: str) -> Path:
        if request.param == "environment":
            for name, value in values.items():
                monkeypatch.setenv(name, value)
        else:
            lines = [f"{name}='{value}'\n" for name, value in values.items()]
            (tmp_path / ".env").write_text("".join(lines))
        return tmp_path

    return give
