"""``dino-assets serve``: started and stopped in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets.errors import CheckpointNotFoundError, ConfigError
from dino_assets.serving.app import make_app
from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.servers import silent_server
from dino_assets_tests.worlds.serving import wait_until

COMMAND = [str(Path(sys.executable).parent / "dino-assets"), "serve"]


def answers(url: str) -> bool:
    """Check whether an address answers, by urllib: httpx reads all certificates for each call."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_serve__prints_a_working_command_and_ends_cleanly(project: Path):
    (project / "photo.jpg").write_bytes(photo_bytes(640, 480))
    with subprocess.Popen(
        [*COMMAND, "--port", "0"], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            command = lines[1].strip()
            url = re.search(r"http://127\.0\.0\.1:\d+", command)[0]
            wait_until(lambda: answers(f"{url}/ready"))
            completed = subprocess.run(
                ["bash", "-c", f"{command} -s"], capture_output=True, text=True
            )
            assert '"num_tiles":1' in completed.stdout
            process.send_signal(signal.SIGTERM)
            lines, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no child is left
    uri = re.search(r'"embedding_uri":"([^"]*)"', completed.stdout)[1]
    assert (project / uri).is_file()
    assert '"route": "/embed"' in lines


def test_serve__ends_cleanly_while_its_model_is_fetched(project: Path, monkeypatch):
    """Without a handler, the first process of a container would ignore the signal."""
    monkeypatch.setenv("DINO_MODEL_ID", "facebook/dinov2-small")
    with silent_server() as (address, wait_for_client):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with subprocess.Popen([*COMMAND, "--port", "0"], start_new_session=True) as process:
            try:
                wait_for_client()
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
            finally:
                process.kill()


def test_serve__other_machines_need_keys_or_open(project, refuse):
    sentence = refuse(ConfigError, "serve", "--host", "0.0.0.0")
    assert "DINO_API_KEYS" in sentence
    assert "DINO_SERVE_OPEN=true" in sentence


def test_serve__missing_model(project, refuse, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", "./nowhere")
    refuse(CheckpointNotFoundError, "serve", "--port", "0")


def test_serve__port_in_use(project, refuse):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert f":{port}" in refuse(ConfigError, "serve", "--port", str(port))


def test_serve__help_names_routes_and_keys(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = capsys.readouterr().out
    routes = {route.path for route in make_app().routes}
    for path in ("/embed", "/health", "/ready", "/metrics", "/openapi.json", "/embeddings/ID"):
        assert path in text
        assert path in routes or path.startswith("/embeddings")
    assert "DINO_API_KEYS" in text
    assert "exit code" in text
