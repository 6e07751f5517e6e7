"""Parsing of API keys, and refusals that do not show a key."""

import pytest

from dino_assets.errors import ConfigError
from dino_assets.settings.api_keys import hash_key, parse_keys
from dino_assets.settings.environment import list_secrets, load_settings
from dino_assets_tests.worlds.raising import raising

KEY = "0123456789abcdef"


def test_parse_keys__names_and_scopes():
    camera, admin = parse_keys(f"camera-7:{KEY}, admin:{KEY}x:read+delete", setting="K")
    assert (camera.name, camera.scopes) == ("camera-7", {"embed", "read"})
    assert (admin.name, admin.scopes) == ("admin", {"read", "delete"})
    assert camera.sha256 == hash_key(KEY) != admin.sha256


@pytest.mark.parametrize(
    "entry",
    [KEY, f":{KEY}", f"a b:{KEY}", "a:short", f"a:{KEY}:write", f"a:{KEY} x", f"a:{KEY},a:{KEY}", f"a:{KEY}é"],
)  # fmt: skip
def test_parse_keys__refuses_invalid_entries(entry):
    with raising(ConfigError, setting="K", reason="key", hides=KEY):
        parse_keys(entry, setting="K")


def test_load_settings__api_keys_of_a_file_and_of_a_variable(given, tmp_path):
    (tmp_path / "keys").write_text(f"# who\ncamera:{KEY}\n\nadmin:{KEY}y:delete  # all\n")
    root = given(DINO_API_KEYS=f"third:{KEY}z", DINO_API_KEYS_FILE="keys")
    settings = load_settings(root)
    assert [key.name for key in settings.serving.keys] == ["third", "camera", "admin"]
    assert KEY not in repr(settings)
    assert any(KEY in secret for secret in list_secrets(root))


@pytest.mark.parametrize("content", [None, "", "# none\n", b"\xff\xfe\x00"])
def test_load_settings__refuses_a_key_file_without_keys(given, tmp_path, content):
    if content is not None:
        path = tmp_path / "keys"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with raising(ConfigError, setting="DINO_API_KEYS_FILE"):
        load_settings(given(DINO_API_KEYS_FILE="keys"))


def test_load_settings__settings_of_the_service(given):
    root = given(
        DINO_SERVE_OPEN="true",
        DINO_CORS_ORIGINS="https://a.example, https://b.example/",
        DINO_RETENTION_DAYS="7",
        DINO_UPLOAD_MB="3",
        DINO_QUEUE_S="5",
    )
    serving = load_settings(root).serving
    assert serving.is_open
    assert serving.cors_origins == ("https://a.example", "https://b.example")
    assert (serving.retention_days, serving.upload_bytes, serving.queue_s) == (7, 3 * 10**6, 5)


@pytest.mark.parametrize(
    "bad",
    [{"DINO_CORS_ORIGINS": "*"}, {"DINO_RETENTION_DAYS": "0"}, {"DINO_UPLOAD_MB": "0"}],
)
def test_load_settings__refuses_invalid_settings_of_the_service(given, bad):
    with raising(ConfigError, setting=next(iter(bad))):
        load_settings(given(**bad))
