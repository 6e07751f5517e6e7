"""Output to a terminal."""

import io
import logging
import sys
from pathlib import Path

import pytest

from dino_assets.cli.terminal import LiveLine, name_command, name_commands, showing_log


@pytest.mark.parametrize(
    ("program", "command"),
    [
        (".venv/bin/dino-assets", ".venv/bin/dino-assets"),
        ("dino-assets", "./dino-assets"),
        ("/opt/some tools/bin/dino-assets", "'/opt/some tools/bin/dino-assets'"),
    ],
)
def test_name_command__found_without_an_activated_environment(program: str, command: str):
    assert name_command(program) == command


def test_name_command__links_are_not_resolved(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "dino-assets").touch()
    (tmp_path / ".venv").symlink_to(tmp_path / "elsewhere")
    assert name_command(str(tmp_path / ".venv" / "dino-assets")) == ".venv/dino-assets"


def test_name_command__as_a_module_and_from_python():
    assert name_command("x/cli/__main__.py") == f"{sys.executable} -m dino_assets.cli"
    for program in ("/bin/pytest", "/lib/pytest/__main__.py"):
        assert name_command(program) == str(Path(sys.executable).parent / "dino-assets")


@pytest.mark.parametrize(
    ("sentence", "named"),
    [
        ("run `dino-assets fetch`; or copy", "run `HERE fetch`; or copy"),
        ("put it away with: dino-assets drops retire a", "put it away with: HERE drops retire a"),
        ("`dino-assets verify` names; `dino-assets select`", "`HERE verify` names; `HERE select`"),
        # The program itself, and a command with its full path.
        ("'b', which dino-assets did not fetch", None),
        ("dino-assets run: error: no", None),
        ("pip install 'dino-assets[heic]'; `dino-assets`", None),
        ("next: .venv/bin/dino-assets run a", None),
    ],
)
def test_name_commands__can_be_run_from_here(sentence: str, named: str | None):
    command = r"'/opt/some tools\1/dino-assets'"
    assert name_commands(sentence, command) == (named or sentence).replace("HERE", command)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_live_line__overwritten_and_cleared(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    terminal = Terminal()
    line = LiveLine(terminal)
    line.clear()
    line.show("0123456789abc")
    line.clear()
    line.clear()
    assert terminal.getvalue() == "\r\x1b[2K012345678\r\x1b[2K"


def test_live_line__nothing_without_a_terminal():
    log = io.StringIO()
    line = LiveLine(log)
    line.show("text")
    line.clear()
    assert log.getvalue() == ""


def test_showing_log__while_the_block_runs(capsys):
    log = logging.getLogger("dino_assets.drops.sources.progress")
    with showing_log("dino_assets.drops.sources"):
        log.info("card: %d files so far", 7)
        log.debug("nothing for a person")
    log.info("card: 8 files so far")
    assert capsys.readouterr() == ("", "card: 7 files so far\n")
