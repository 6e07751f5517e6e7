"""`dino-assets ui`: it starts completely or not at all, and leaves no process behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dino_assets.cli.web_ui import check_port, choose_code, serve
from dino_assets.errors import ConfigError
from dino_assets_tests.worlds.servers import HOST, free_port, running


@pytest.fixture
def busy_port():
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_choose_code__this_package_unless_the_folder_names_code(tmp_path: Path):
    assert choose_code(tmp_path) == ["-m", "dino_assets"]
    project = tmp_path / "pyproject.toml"
    for text in ("[project]\nname = 'a'\n", "not TOML ["):
        project.write_text(text)
        assert choose_code(tmp_path) == ["-m", "dino_assets"]
    project.write_text("[tool.dagster]\nmodule_name = 'mine'\n")
    assert choose_code(tmp_path) == []
    project.unlink()
    (tmp_path / "workspace.yaml").touch()
    assert choose_code(tmp_path) == []


def test_check_port__free_or_just_closed(busy_port: int):
    check_port(HOST, free_port())


@pytest.mark.parametrize("host", [HOST, "localhost", "0.0.0.0"])
def test_check_port__taken(busy_port: int, host: str):
    with pytest.raises(ConfigError) as caught:
        check_port(host, busy_port)
    assert (caught.value.setting, caught.value.value) == ("port", busy_port)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 3000), ("no.such.host.invalid", 3000)])
def test_check_port__host_of_another_machine(host: str, port: int):
    with pytest.raises(ConfigError):
        check_port(host, port)


def test_serve__a_busy_port_starts_nothing(project: Path, busy_port: int):
    (project / ".dagster").mkdir(exist_ok=True)
    with pytest.raises(ConfigError):
        serve(project, HOST, busy_port, environment=os.environ)
    assert list((project / ".dagster").iterdir()) == [project / ".dagster" / "ui.lock"]


def group(leader: int) -> set[int]:
    """Find the living processes in the session of a process."""
    pids = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            pids.add(int(stat.parent.name))
    return pids


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ui__ends_with_all_its_children(project: Path, tmp_path: Path, number: signal.Signals):
    port = free_port()
    command = [sys.executable, "-m", "dino_assets.cli", "ui", "--port", str(port)]
    log = tmp_path / "ui.log"
    with running(
        command, url=f"http://{HOST}:{port}/server_info", log=log, env=dict(os.environ), cwd=project
    ) as ui:
        (leader,) = children(ui.pid)
        assert len(group(leader)) >= 4  # dagster dev, its web server, its daemon, its code server
        second = subprocess.run([*command[:-1], str(free_port())], cwd=project, check=False)
        assert second.returncode == 1
        ui.send_signal(number)
        assert ui.wait(60) == (0 if number == signal.SIGINT else 128 + number)
        deadline = time.monotonic() + 10
        while group(leader) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert group(leader) == set()


def children(parent: int) -> list[int]:
    listing = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listing.stdout.split()]
