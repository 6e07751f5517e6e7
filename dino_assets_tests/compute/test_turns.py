"""The lock per device, between threads and between processes that may be killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dino_assets.compute.turns import taking_turn

HOLD = """
import sys
from pathlib import Path
from dino_assets.compute.turns import taking_turn

with taking_turn(Path(sys.argv[1]), "cuda:0", holder="embeddings/flight-1"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holding(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process that has locked cuda:0."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def wait_for_turn(folder: Path) -> tuple[threading.Thread, threading.Event, list[str]]:
    """Start a thread that wants cuda:0, too; its event is set when it waits."""
    waits, lines = threading.Event(), list[str]()

    def say(sentence: str) -> None:
        lines.append(sentence)
        waits.set()

    def run() -> None:
        with taking_turn(folder, "cuda:0", holder="b", say=say, poll_s=0.01):
            lines.append("computes")

    thread = threading.Thread(target=run)
    thread.start()
    assert waits.wait(30)
    return thread, waits, lines


def test_taking_turn__waits_and_names_the_holder(
    holding: "subprocess.Popen[bytes]", tmp_path: Path
):
    thread, _, lines = wait_for_turn(tmp_path)
    assert "embeddings/flight-1" in lines[0]
    assert str(holding.pid) in lines[0]
    assert "computes" not in lines
    assert holding.stdin is not None
    holding.stdin.write(b"\n")
    holding.stdin.flush()
    thread.join(30)
    assert lines[1:] == ["computes"]


def test_taking_turn__killed_holder_releases_the_lock(
    holding: "subprocess.Popen[bytes]", tmp_path: Path
):
    thread, _, lines = wait_for_turn(tmp_path)
    os.kill(holding.pid, signal.SIGKILL)
    thread.join(30)
    assert lines[1:] == ["computes"]


def test_taking_turn__another_device_is_free(holding: "subprocess.Popen[bytes]", tmp_path: Path):
    with taking_turn(tmp_path, "cuda:1", holder="b", say=pytest.fail):
        pass


def test_taking_turn__releases_the_lock_after_an_error(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), taking_turn(tmp_path, "cpu", holder="a"):
            raise ZeroDivisionError
    with taking_turn(tmp_path, "cpu", holder="b", say=pytest.fail):
        pass


def test_taking_turn__runs_without_a_lock_if_it_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    with taking_turn(tmp_path / "file" / "turns", "cpu", holder="a", say=lines.append):
        pass
    assert len(lines) == 1
