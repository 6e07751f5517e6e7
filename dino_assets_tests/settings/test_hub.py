"""The Hub's settings: endpoint, folders, token."""

from pathlib import Path

import pytest

from dino_assets.errors import ConfigError
from dino_assets.settings.hub import resolve_hub
from dino_assets_tests.worlds.raising import raising


@pytest.mark.parametrize(
    "endpoint",
    [
        "hf.co",
        "http://",
        "http://localhost:99999",
        "http://[::1",
        "http://exa mple",
        "https://hf.co:abc",
        "https://me:sesame@hf.co",
        "https://hf.co?sesame",
        f"http://{'a' * 70}",
        "http://a..b",
    ],
)
def test_resolve_hub__invalid_endpoint(given, endpoint: str):
    root = given(HF_ENDPOINT=endpoint)
    with raising(ConfigError, reason="endpoint", hides="sesame"):
        resolve_hub(root)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8080", "http://[::1]:9", "https://hf-mirror.com/sub"]
)
def test_resolve_hub__valid_endpoint(given, endpoint: str):
    assert resolve_hub(given(HF_ENDPOINT=f"{endpoint}/")).endpoint == endpoint


def test_resolve_hub__folders_are_relative_to_the_project(given, monkeypatch, tmp_path: Path):
    root = given(HF_HOME="own/hf", HF_HUB_CACHE="$WHERE/hub")
    monkeypatch.setenv("WHERE", "cache")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    hub = resolve_hub(root)
    assert (hub.home, hub.cache) == (tmp_path / "own/hf", tmp_path / "cache/hub")


@pytest.mark.parametrize("path", ["~no-such-user-here/x", "x" * 300])
@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "XDG_CACHE_HOME"])
def test_resolve_hub__invalid_folder(given, variable: str, path: str):
    with raising(ConfigError, setting=variable, reason="path"):
        resolve_hub(given(**{variable: path}))


def test_resolve_hub__token_of_hf_auth_login(given, monkeypatch, tmp_path: Path):
    root = given(HF_HOME="hf")
    assert (resolve_hub(root).token, resolve_hub(root).token_file) == (None, tmp_path / "hf/token")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_home\n")
    assert resolve_hub(root).token == "hf_home"
    assert "hf_home" not in repr(resolve_hub(root))
    (tmp_path / "other").write_text("hf_other")
    monkeypatch.setenv("HF_TOKEN_PATH", "other")
    assert resolve_hub(root).token == "hf_other"
    monkeypatch.setenv("HF_TOKEN", "hf_own")
    assert (resolve_hub(root).token, resolve_hub(root).token_file) == ("hf_own", None)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")
    assert (resolve_hub(root).token, resolve_hub(root).token_file) == (None, None)


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfesesame", "hf_ses\u00e4me".encode(), b"hf_a sesame", b"hf_a\nsesame", b"a\0b"],
)
def test_resolve_hub__token_file_with_invalid_content(given, tmp_path: Path, content: bytes):
    root = given(HF_HOME="hf")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_bytes(content)
    with raising(ConfigError, reason="token", hides="ses") as caught:
        resolve_hub(root)
    assert caught.value.__context__ is None


def test_resolve_hub__unreadable_token_file(given, monkeypatch, tmp_path: Path):
    root = given(HF_HOME="hf")
    (tmp_path / "hf" / "token").mkdir(parents=True)
    with raising(ConfigError, reason="token-file"):
        resolve_hub(root)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve_hub(root).token is None  # no token is sent
