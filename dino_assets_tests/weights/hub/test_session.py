"""The HTTP client: certificates and proxies of the environment, and its log."""

import logging
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest

from dino_assets.errors import ConfigError
from dino_assets.weights.hub.session import CERTIFICATES, PROXIES, invalid_url, open_session
from dino_assets_tests.worlds.faults import let_fail
from dino_assets_tests.worlds.finding import find_checkpoint
from dino_assets_tests.worlds.raising import raising

REPO = "org/model"
FILES = {"model.safetensors": b"weights" * 1000, "config.json": b"{}"}
LOGGERS = ("httpx", "httpx2", "httpcore", "httpcore2")


@pytest.fixture
def new_client(hub, monkeypatch: pytest.MonkeyPatch):
    """No client yet, in an environment without proxies and certificates."""
    hub.add(REPO, FILES)
    for name in (*PROXIES, *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    huggingface_hub.close_session()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SSL_CERT_FILE", "/no/such.pem", r"\(FileNotFoundError\)\. Check SSL_CERT_FILE: a read"),
        ("SSL_CERT_FILE", __file__, r"\(SSLError\)\. Check SSL_CERT_FILE: a readable file"),
        ("HTTPS_PROXY", "foo://me:sesame@x", "Check HTTPS_PROXY: http://host:port is expected"),
        ("https_proxy", "foo://me:sesame@x", "Check https_proxy: http://host:port is expected"),
        ("ALL_PROXY", "http://me:sesame@x:0o", "Check ALL_PROXY: http://host:port is expected"),
    ],
)
def test_open_session__invalid_certificates_and_proxies(
    new_client, monkeypatch, tmp_path, variable: str, value: str, says: str
):
    monkeypatch.setenv(variable, value)
    for act in (open_session, lambda: find_checkpoint(REPO, root=tmp_path)):
        with raising(ConfigError, match=says, setting=variable, hides="sesame") as caught:
            act()
        assert caught.value.__context__ is None or caught.value.__suppress_context__
        assert "sesame" not in str(caught.value.__context__)
    monkeypatch.delenv(variable)
    assert find_checkpoint(REPO, root=tmp_path).is_dir()


def test_open_session__socks_proxy_without_its_package(new_client, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://me:sesame@host")
    monkeypatch.setitem(sys.modules, "socksio", None)
    text = "a SOCKS proxy needs the package socksio; install it"
    with raising(ConfigError, setting="ALL_PROXY", reason=text):
        open_session()


def test_open_session__names_all_variables_if_none_is_set(new_client, monkeypatch):
    let_fail(monkeypatch, huggingface_hub, "get_session", ValueError("sesame"))
    with raising(ConfigError, setting="HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY"):
        open_session()


def test_invalid_url__is_the_clients_error(new_client):
    with pytest.raises(invalid_url()):
        open_session().get("http://host:0o/")


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_logging__no_signed_address(new_client, monkeypatch, caplog, tmp_path, level: int):
    for name in LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
        logging.getLogger(name).setLevel(logging.NOTSET)  # as before any setting
    caplog.set_level(level)
    find_checkpoint(REPO, root=tmp_path)
    assert "signature" not in caplog.text


def test_logging__can_be_switched_on(new_client, tmp_path: Path):
    script = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
for name in ("httpx", "httpx2"):
    logging.getLogger(name).setLevel(logging.INFO)
from dino_assets.weights.hub.locating import locate_checkpoint
locate_checkpoint("org/model", root=Path()).bring()
"""
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert "?signature=1" in process.stdout
