"""``dino-assets fetch`` and ``dinov3-fetcher``, run by a person and by a script."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dino_assets.api.fetcher import validate_dinov3
from dino_assets.cli import fetcher_main, main
from dino_assets.demo.checkpoint import write_demo_checkpoint
from dino_assets.errors import ConfigError, RevisionNotFoundError
from dino_assets.weights.catalogue import DEFAULT_TEACHER
from dino_assets.weights.hub.listings import RECORD
from dino_assets_tests.worlds.hub_server import HubServer, hub_for_test

BIN = Path(sys.executable).parent
TOKEN = "hf_VerySecretToken"
REPO = "facebook/dinov3-vits16-pretrain-lvd1689m"


@pytest.fixture
def hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint_dir: Path
) -> Iterator[HubServer]:
    """A Hub with a small checkpoint under two names."""
    with hub_for_test(monkeypatch, tmp_path) as server:
        for repo in (REPO, DEFAULT_TEACHER):
            server.add(repo, {path.name: path for path in checkpoint_dir.iterdir()})
        yield server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config file in the published format."""
    path = tmp_path / "project" / "config.json"
    path.parent.mkdir()
    content = {
        "paths": {"dataset_root": "photos"},
        "train": {"dino_root": "models/dinov3", "dino_model": "dinov3-vits16"},
    }
    path.write_text(json.dumps(content))
    return path


def run(command: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(BIN / command), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def sizes_of(parts: Path, *, at_least: int) -> Iterator[int]:
    """List the sizes of unfinished files."""
    for part in parts.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # renamed a moment ago: it is finished
            if (size := part.stat().st_size) >= at_least:
                yield size


def run_on_terminal(command: str, *arguments: object) -> tuple[int, str]:
    """Run a command on a terminal of 100 columns; return everything that it showed."""
    terminal, stream = pty.openpty()
    fcntl.ioctl(stream, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with subprocess.Popen(
        [str(BIN / command), *map(str, arguments)], stdin=stream, stdout=stream, stderr=stream
    ) as process:
        os.close(stream)
        output = b""
        while True:
            try:
                data = os.read(terminal, 4096)
            except OSError:  # the last one at the other end is gone
                break
            if not data:
                break
            output += data
        os.close(terminal)
        code = process.wait(60)
    return code, output.decode()


def test_dinov3_fetcher__config(hub, config, tmp_path):
    folder = config.parent / "models" / "dinov3"
    first = run("dinov3-fetcher", "--config", config)
    assert first.returncode == 0, first.stderr
    *lines, last_line = first.stdout.splitlines()
    assert last_line == str(folder)
    commit = hub.repositories[REPO].branches["main"]
    assert lines == [
        f"{REPO}@{commit}: dinov3_vit, 16 dims, 2 layers, 19,024 parameters, licence apache-2.0"
    ]
    lines = first.stderr.splitlines()
    assert re.fullmatch(r"dinov3-vits16: fetching 0\.\d MB", lines[0])
    assert re.fullmatch(r"dinov3-vits16: .* \(100%\), .* MB/s", lines[-1])
    assert all("\r" not in line for line in lines)
    assert validate_dinov3(folder)
    assert not (tmp_path / "hf" / "dino-assets").exists()  # the cache holds no second copy

    hub.asked.clear()
    second = run("dinov3-fetcher", "--config", config)
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    assert [request.path for request in hub.asked] == [f"/api/models/{REPO}/revision/main"]


def test_dinov3_fetcher__progress_bar_on_a_terminal(hub, config):
    hub.misbehave("model.safetensors", "reset", after=1000)
    code, output = run_on_terminal("dinov3-fetcher", "--config", config)
    assert code == 0, output
    assert re.search(r"\rdinov3-vits16: +\d+%\|", output)
    assert re.search(r"dinov3-vits16: 100%\|█+\|", output)
    assert output.splitlines()[-1] == str(config.parent / "models" / "dinov3")
    assert "fetching 0" not in output
    bars = [part for part in re.split(r"[\r\n]", output) if "%|" in part]
    assert max(map(len, bars)) <= 100  # a longer one would not be overwritten
    code, output = run_on_terminal("dinov3-fetcher", "--config", config)
    assert (code, "%" in output) == (0, False)  # nothing to fetch, no bar


def test_dinov3_fetcher__interrupted_and_continued(hub, config, tmp_path):
    large_checkpoint = write_demo_checkpoint(tmp_path / "large", dim=256, layers=2)
    hub.add(REPO, {path.name: path for path in large_checkpoint.iterdir()})
    # Stopped by the server, and only when some of the weights (the one large file) is on the disk:
    # the test depends on no clock.
    hub.misbehave("model.safetensors", "stall", after=3 * 2**20)
    parts = config.parent / "models" / ".dinov3.fetching" / "parts"
    with subprocess.Popen(
        [str(BIN / "dinov3-fetcher"), "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        # Background jobs of a shell ignore Ctrl-C, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while not any(sizes_of(parts, at_least=2**20)):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        printed = process.stderr.read()
    assert printed.splitlines()[-1].startswith(
        "Interrupted. Finished work is kept; run the command again"
    )
    assert "Traceback" not in printed
    assert fetcher_main(["--config", str(config)]) == 0
    ranges = [a.range for a in hub.bodies("model.safetensors") if a.host == "localhost"]
    assert ranges[0] is None
    assert re.fullmatch(r"bytes=[1-9]\d*-", ranges[1])
    assert validate_dinov3(config.parent / "models" / "dinov3")


def test_dinov3_fetcher__options_override_the_file(hub, config, tmp_path, capsys):
    target = tmp_path / "elsewhere"
    arguments = ["--config", str(config), "--model", DEFAULT_TEACHER, "--to", str(target)]
    assert fetcher_main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(target)
    assert json.loads((target / RECORD).read_bytes())["repo"] == DEFAULT_TEACHER
    assert not (config.parent / "models").exists()


def test_dinov3_fetcher__default_model(hub, config, capsys):
    config.write_text('{"train": {"dino_root": "d"}}')
    assert fetcher_main(["--config", str(config)]) == 0
    assert capsys.readouterr().out.startswith(f"{DEFAULT_TEACHER}@")


def test_dinov3_fetcher__a_revision(hub, config, checkpoint_dir, capsys):
    old_commit = hub.repositories[REPO].branches["main"]
    hub.add(REPO, {path.name: path for path in checkpoint_dir.iterdir()})
    assert fetcher_main(["--config", str(config), "--revision", old_commit]) == 0
    hub.asked.clear()
    assert fetcher_main(["--config", str(config), "--revision", old_commit]) == 0
    assert f"{REPO}@{old_commit}" in capsys.readouterr().out
    assert hub.asked == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot read '{path}' (No such file or directory)"),
        ("{", "'{path}' is not JSON"),
        ('{"train": {}}', "'{path}': train.dino_root is ''; a text is expected"),
        ('{"train": {"dino_root": 7}}', "'{path}': train.dino_root is 7; a text is expected"),
        (
            '{"train": {"dino_root": "\\u0000"}}',
            "'{path}': train.dino_root: '\\x00' cannot be used as a path",
        ),
        (
            '{"train": {"dino_root": "~none"}}',
            "'{path}': train.dino_root: '~none' cannot be used as a path",
        ),
        (
            '{"train": {"dino_root": "d", "dino_model": "\\u0000"}}',
            "'\\x00' cannot be used as a path",
        ),
        (
            '{"train": {"dino_root": "d", "dino_model": "\\ud800"}}',
            "'\\ud800' cannot be used as a path",
        ),
    ],
)
def test_dinov3_fetcher__invalid_config_file(hub, config, capsys, content, text):
    config.unlink() if content is None else config.write_text(content)
    assert fetcher_main(["--config", str(config)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("ConfigError: " + text.format(path=config))
    assert printed.out == ""
    assert hub.asked == []


def test_fetch__to_a_folder(hub, tmp_path):
    process = run("dino-assets", "fetch", "--model", "dinov3-vits16", "--to", "here")
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == str(tmp_path / "here")
    assert validate_dinov3(tmp_path / "here")


def test_fetch__into_the_cache(hub, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DINO_MODEL_ID", "dinov3-vits16")
    assert main(["fetch"]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    assert folder.is_relative_to(tmp_path / "hf")
    assert validate_dinov3(folder)
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["fetch"]) == 0
    assert Path(capsys.readouterr().out.splitlines()[-1]) == folder
    assert hub.asked == []


def test_fetch__the_settings_revision_belongs_to_the_settings_model(
    hub, tmp_path, refuse, monkeypatch
):
    monkeypatch.setenv("DINO_MODEL_ID", DEFAULT_TEACHER)
    monkeypatch.setenv("DINO_MODEL_REVISION", "v9")
    assert main(["fetch", "--model", "dinov3-vits16", "--to", "here"]) == 0
    refuse(RevisionNotFoundError, "fetch", "--to", "there")


@pytest.mark.parametrize("configured", ["dinov3-vitl16", DEFAULT_TEACHER])
@pytest.mark.parametrize("named", ["dinov3-vitl16", DEFAULT_TEACHER, "facebook/dinov3-vitl16"])
def test_fetch__the_settings_model_under_its_other_name(
    hub, config, refuse, monkeypatch, configured, named
):
    monkeypatch.setenv("DINO_MODEL_ID", configured)
    monkeypatch.setenv("DINO_MODEL_REVISION", "v9")
    config.write_text(json.dumps({"train": {"dino_root": "d", "dino_model": named}}))
    for arguments in (["--model", named, "--to", "here"], ["--config", str(config)]):
        refuse(RevisionNotFoundError, "fetch", *arguments)


def test_fetch__folder_with_other_files(hub, tmp_path, refuse):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "notes.txt").write_text("mine")
    refuse(ConfigError, "fetch", "--model", "dinov3-vits16", "--to", "here")
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["notes.txt"]


def test_fetch__offline_and_not_cached(hub, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["fetch", "--model", "dinov3-vits16", "--to", "here"]) == 1
    assert capsys.readouterr().err.startswith("LocalEntryNotFoundError: ")
    assert hub.asked == []


@pytest.mark.parametrize("command", [["dinov3-fetcher"], ["dino-assets", "fetch"]])
@pytest.mark.parametrize(
    ("token", "is_valid", "text"),
    [
        (None, False, "needs a token, and no token was sent"),
        (TOKEN, False, "the token was rejected"),
        (TOKEN, True, "but has no access"),
    ],
)
def test_commands__gated(hub, config, monkeypatch, tmp_path, command, token, is_valid, text):
    hub.repositories[REPO].is_gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if is_valid:
        hub.grant(token)
    process = run(*command, "--config", config)
    assert process.returncode == 1
    assert process.stderr.startswith("AuthenticationError: ")
    assert text in process.stderr
    assert process.stdout == ""
    assert TOKEN not in process.stderr
    assert not (config.parent / "models").exists()


def test_commands__token_is_never_shown_or_written(hub, config, monkeypatch, tmp_path):
    hub.repositories[REPO].is_gated = True
    hub.grant(TOKEN, REPO)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.misbehave("model.safetensors", "reset", after=1000)
    process = run("dino-assets", "fetch", "--config", config)
    assert process.returncode == 0, process.stderr
    assert TOKEN not in process.stdout + process.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)
