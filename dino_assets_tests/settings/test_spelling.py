"""Variables that look like ours and have no effect."""

from pathlib import Path

import pytest

from dino_assets.settings.environment import load_settings
from dino_assets.settings.records import spell_unknown
from dino_assets.settings.spelling import find_unknown

OURS = {"DINO_STORAGE", "DINO_MODEL_ID", "DINO_INBOX", "MINIO_ENDPOINT"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DINO_STORGE", " (did you mean DINO_STORAGE?)"),
        ("DINO_MODEL", " (did you mean DINO_MODEL_ID?)"),
        ("dino_storage", " (did you mean DINO_STORAGE?)"),
        ("DINO_COLOUR", ""),
    ],
)
def test_find_unknown__with_what_was_meant(tmp_path: Path, name: str, meant: str):
    assert find_unknown(tmp_path / ".env", OURS, now={name: "x"}) == (f"{name}{meant}",)


def test_find_unknown__ours_those_of_others_and_empty_ones(tmp_path: Path):
    now = {"DINO_STORAGE": "x", "DINOSAUR": "x", "MINIO_ENDPIONT": "x", "DINO_STORGE": ""}
    assert find_unknown(tmp_path / ".env", OURS, now=now) == ()


def test_find_unknown__in_the_file(tmp_path: Path):
    file = tmp_path / ".env"
    file.write_text("DINO_STORGE=/secret\nDINO_X\nDINO_INBOX=here\n")
    expected = f"DINO_STORGE in {str(file)!r} (did you mean DINO_STORAGE?)"
    assert find_unknown(file, OURS, now={}) == (expected,)
    # `dagster dev` has put the file into the environment already.
    assert find_unknown(file, OURS, now={"DINO_STORGE": "/secret"}) == (
        "DINO_STORGE (did you mean DINO_STORAGE?)",
    )


def test_load_settings__a_misspelt_variable(given):
    settings = load_settings(given(DINO_STORGE="/secret"))
    assert settings.storage.url == "data"
    assert len(settings.unknown) == 1
    assert "DINO_STORAGE" in spell_unknown(settings)
    assert "secret" not in spell_unknown(settings)


def test_load_settings__all_that_we_know(given):
    known = {"DINO_STORAGE": "x", "DINO_UI_URL": "http://a", "DINO_FLIGHT_DAYS": "3"}
    settings = load_settings(given(**known))
    assert settings.unknown == ()
    assert spell_unknown(settings) == ""
