"""Tokens of the Hub: gated repositories, refusals, and which hosts receive a token."""

import logging
import traceback

import pytest
from huggingface_hub import errors as hub_errors

from dino_assets.errors import (
    AuthenticationError,
    CheckpointNotFoundError,
    ConfigError,
    RepositoryNotFoundError,
)
from dino_assets.settings.hub import resolve_hub
from dino_assets.weights.hub.api import request_headers
from dino_assets.weights.hub.transfer import FileRequest
from dino_assets_tests.worlds.finding import (
    FILES,
    REPO,
    TOKEN,
    contents,
    small,
)
from dino_assets_tests.worlds.raising import raising


@pytest.mark.parametrize("hides_listing", [True, False])
@pytest.mark.parametrize(
    ("token", "granted", "text"),
    [
        (None, [], "needs a token, and no token was sent"),
        (TOKEN, None, "the token was rejected"),
        (TOKEN, [], "the token is valid, but has no access"),
    ],
)
def test_find_checkpoint__gated(
    hub, find, monkeypatch, caplog, hides_listing, token, granted, text
):
    hub.add(REPO, FILES, is_gated=True, hides_listing=hides_listing)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if granted is not None and token:
        hub.grant(token, *granted)
    with pytest.raises(AuthenticationError, match=text) as caught:
        find()
    is_gated = "rejected" not in text
    assert isinstance(
        caught.value, hub_errors.GatedRepoError if is_gated else hub_errors.HfHubHTTPError
    )
    assert isinstance(caught.value, CheckpointNotFoundError)
    assert not isinstance(caught.value, RepositoryNotFoundError)
    assert hub.endpoint in str(caught.value)  # the address to request access
    assert caught.value.response.status_code in (401, 403)
    assert "authorization" not in caught.value.response.request.headers
    shown_text = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert TOKEN not in shown_text


def test_find_checkpoint__gated_token_goes_to_the_hub_only(
    hub, find, monkeypatch, caplog, tmp_path
):
    caplog.set_level(logging.DEBUG)
    hub.add(REPO, FILES, is_gated=True)
    hub.grant(TOKEN, REPO)
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    hub.misbehave("model.safetensors", "reset", after=100_000)
    hub.misbehave("model.safetensors", "expired")
    folder = find()
    assert contents(folder) == small()
    assert {a.token for a in hub.asked if a.host == "127.0.0.1"} == {f"Bearer {TOKEN}"}
    storage = [a for a in hub.asked if a.host == "localhost"]
    assert len(storage) >= 3
    assert not any(TOKEN in str(a.headers) for a in storage)
    assert TOKEN not in caplog.text
    settings = resolve_hub(tmp_path)
    assert settings.token == TOKEN
    assert TOKEN not in repr(settings) + repr(FileRequest("", {"authorization": TOKEN}))
    cached_files = [path for path in (tmp_path / "hf").rglob("*") if path.is_file()]
    assert cached_files
    assert not any(TOKEN.encode() in path.read_bytes() for path in cached_files)


def test_find_checkpoint__follows_a_renamed_repository_with_the_token(hub, find, monkeypatch):
    hub.add(REPO, FILES, is_gated=True)
    hub.grant(TOKEN, REPO)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.moved["org/old-name"] = REPO
    assert contents(find("org/old-name")) == small()
    assert not [a for a in hub.asked if a.host == "localhost" and a.token]


def test_resolve_hub__reads_settings_as_the_library_does(monkeypatch, tmp_path):
    for name in ("TRANSFORMERS_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))  # the developer's home may hold a token
    settings = resolve_hub(tmp_path)
    assert (settings.endpoint, settings.token, settings.is_offline) == (
        "https://huggingface.co",
        None,
        False,
    )
    assert settings.cache == settings.home / "hub" == tmp_path / "me/.cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert resolve_hub(tmp_path).home == tmp_path / "xdg" / "huggingface"
    (tmp_path / ".env").write_text(
        f"HF_HOME={tmp_path}/own\nHF_TOKEN=hf_x\nHF_ENDPOINT=http://m/\n"
    )
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")
    settings = resolve_hub(tmp_path)
    assert (settings.home, settings.cache) == (tmp_path / "own", tmp_path / "elsewhere")
    assert (settings.endpoint, settings.token, settings.is_offline) == ("http://m", "hf_x", True)


def test_token__invalid_one_is_not_quoted(hub, find, monkeypatch):
    hub.add(REPO, FILES)
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\nä")
    with raising(ConfigError, reason="token", hides=TOKEN):
        find()
    monkeypatch.setenv("HF_ENDPOINT", "me:pass@host")
    monkeypatch.delenv("HF_TOKEN")
    with raising(ConfigError, reason="endpoint", hides="pass@"):
        find()


def test_token__of_a_log_in_below_dotenvs_home(hub, find, monkeypatch, tmp_path):
    """The library uses HF_HOME as of its import; this package reads a relative one from .env."""
    hub.add(REPO, FILES, is_gated=True)
    hub.grant(TOKEN, REPO)
    monkeypatch.delenv("HF_HOME")
    (tmp_path / ".env").write_text("HF_HOME=own\n")
    with raising(AuthenticationError, has_token=False):
        find()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "token").write_text(f"{TOKEN}\n")
    assert contents(find()) == small()
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    hub.asked.clear()
    with raising(AuthenticationError, has_token=False):
        find(revision="other")
    assert not any(hub_request.token for hub_request in hub.asked)


def test_token__the_library_reads_its_own_token_file(hub, tmp_path, monkeypatch):
    """The library renews tokens that expire soon."""
    token_file = tmp_path / "hf" / "token"
    token_file.parent.mkdir()
    token_file.write_text(TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(token_file))
    monkeypatch.setattr(
        "huggingface_hub.utils._auth._refresh_oauth_token_if_needed", lambda _: "hf_new"
    )
    assert request_headers(resolve_hub(tmp_path))["authorization"] == "Bearer hf_new"
    monkeypatch.setenv("HF_TOKEN", "hf_own")
    assert request_headers(resolve_hub(tmp_path))["authorization"] == "Bearer hf_own"
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "theirs"))
    monkeypatch.delenv("HF_TOKEN")
    token_file.unlink()
    (tmp_path / "theirs").write_text(TOKEN)
    assert "authorization" not in request_headers(resolve_hub(tmp_path))
