"""Turns on a device, among threads and among processes that may be killed."""

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
    """Another process that computes on cuda:0."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def wait_for_turn(folder: Path) -> tuple[threading.Thread, threading.Event, list[str]]:
    """Somebody who wants cuda:0, too; the event is set when it waits."""
    waits, said = threading.Event(), list[str]()

    def say(sentence: str) -> None:
        said.append(sentence)
        waits.set()

    def run() -> None:
        with taking_turn(folder, "cuda:0", holder="b", say=say, poll_s=0.01):
            said.append("computes")

    thread = threading.Thread(target=run)
    thread.start()
    assert waits.wait(30)
    return thread, waits, said


def test_taking_turn__waits_and_says_for_whom(holding: "subprocess.Popen[bytes]", tmp_path: Path):
    thread, _, said = wait_for_turn(tmp_path)
    assert "embeddings/flight-1" in said[0]
    assert str(holding.pid) in said[0]
    assert "computes" not in said
    assert holding.stdin is not None
    holding.stdin.write(b"\n")
    holding.stdin.flush()
    thread.join(30)
    assert said[1:] == ["computes"]


def test_taking_turn__a_killed_holder_holds_nothing(
    holding: "subprocess.Popen[bytes]", tmp_path: Path
):
    thread, _, said = wait_for_turn(tmp_path)
    os.kill(holding.pid, signal.SIGKILL)
    thread.join(30)
    assert said[1:] == ["computes"]


def test_taking_turn__another_device_is_free(holding: "subprocess.Popen[bytes]", tmp_path: Path):
    with taking_turn(tmp_path, "cuda:1", holder="b", say=pytest.fail):
        pass


def test_taking_turn__again_and_after_an_error(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), taking_turn(tmp_path, "cpu", holder="a"):
            raise ZeroDivisionError
    with taking_turn(tmp_path, "cpu", holder="b", say=pytest.fail):
        pass


def test_taking_turn__no_lock_can_be_kept(tmp_path: Path):
    (tmp_path / "file").write_text("")
    said: list[str] = []
    with taking_turn(tmp_path / "file" / "turns", "cpu", holder="a", say=said.append):
        pass
    assert len(said) == 1
