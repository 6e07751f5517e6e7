"""Detection of misspelt variable names."""

from pathlib import Path

import pytest

from dino_assets.settings.environment import load_settings
from dino_assets.settings.records import describe_unknown
from dino_assets.settings.spelling import find_unknown

SETTING_NAMES = {"DINO_STORAGE", "DINO_MODEL_ID", "DINO_INBOX", "MINIO_ENDPOINT"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DINO_STORGE", " (did you mean DINO_STORAGE?)"),
        ("DINO_MODEL", " (did you mean DINO_MODEL_ID?)"),
        ("dino_storage", " (did you mean DINO_STORAGE?)"),
        ("DINO_COLOUR", ""),
    ],
)
def test_find_unknown__suggests_the_closest_name(tmp_path: Path, name: str, meant: str):
    assert find_unknown(tmp_path / ".env", SETTING_NAMES, now={name: "x"}) == (f"{name}{meant}",)


def test_find_unknown__ignores_known_foreign_and_empty_variables(tmp_path: Path):
    variables = {"DINO_STORAGE": "x", "DINOSAUR": "x", "MINIO_ENDPIONT": "x", "DINO_STORGE": ""}
    assert find_unknown(tmp_path / ".env", SETTING_NAMES, now=variables) == ()


def test_find_unknown__names_the_dotenv_file(tmp_path: Path):
    file = tmp_path / ".env"
    file.write_text("DINO_STORGE=/secret\nDINO_X\nDINO_INBOX=here\n")
    expected = f"DINO_STORGE in {str(file)!r} (did you mean DINO_STORAGE?)"
    assert find_unknown(file, SETTING_NAMES, now={}) == (expected,)
    # `dagster dev` has loaded the file into the environment already.
    assert find_unknown(file, SETTING_NAMES, now={"DINO_STORGE": "/secret"}) == (
        "DINO_STORGE (did you mean DINO_STORAGE?)",
    )


def test_load_settings__reports_a_misspelt_variable(given):
    settings = load_settings(given(DINO_STORGE="/secret"))
    assert settings.storage.url == "data"
    assert len(settings.unknown) == 1
    assert "DINO_STORAGE" in describe_unknown(settings)
    assert "secret" not in describe_unknown(settings)


def test_load_settings__known_variables_are_not_reported(given):
    variables = {"DINO_STORAGE": "x", "DINO_UI_URL": "http://a", "DINO_FLIGHT_DAYS": "3"}
    settings = load_settings(given(**variables))
    assert settings.unknown == ()
    assert describe_unknown(settings) == ""
