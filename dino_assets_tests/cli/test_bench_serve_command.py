"""``dino-assets bench-serve`` with a service in another process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dino_assets.cli import main
from dino_assets_tests.conftest import REPOSITORY, photo_bytes
from dino_assets_tests.worlds.serving import wait_until
from dino_assets_tests.worlds.serving_process import forked_service

KEYS = "all:0123456789abcdef:embed+read+delete,sender:fedcba9876543210:embed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    environment = {"DINO_API_KEYS": KEYS, "DINO_MODEL_ID": "small"}
    with forked_service(folder, environment=environment, call_s=0.01) as (_, url):
        yield url


@pytest.fixture
def arguments(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments for a short load with a small picture and a key for everything."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a ü.jpg").write_bytes(photo_bytes(16, 16))
    (tmp_path / "key").write_text("0123456789abcdef\n")
    options = ["--seconds", "1", "--clients", "1,3", "--picture", "a ü.jpg", "--key", "@key"]
    return ["bench-serve", url, *options]


def stored(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("embed_*")}


def replace(arguments: list[str], **values: str) -> list[str]:
    new_arguments = list(arguments)
    for name, value in values.items():
        new_arguments[new_arguments.index(f"--{name}") + 1] = value
    return new_arguments


def test_bench_serve__prints_a_table_and_deletes_its_embeddings(arguments, folder, capsys):
    assert main(arguments) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("small, ")
    assert [line.split()[0] for line in lines[1:]] == ["clients", "1", "3"]
    assert stored(folder) == set()
    assert "deleted the" in printed.err


def test_bench_serve__json(arguments, folder, capsys):
    assert main([*arguments, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [each["clients"] for each in summary["loads"]] == [1, 3]
    assert all(each["pictures"] == each["tiles"] > 0 for each in summary["loads"])
    assert all(each["failed"] == each["refused"] == 0 for each in summary["loads"])
    picture_count = sum(each["pictures"] for each in summary["loads"]) + 1  # one is sent before
    assert (summary["made"], summary["left"], summary["model"]) == (picture_count, [], "small")


def test_bench_serve__without_the_scope_to_delete(arguments, folder, tmp_path, capsys, url):
    assert main([*replace(arguments, key="fedcba9876543210"), "--json"]) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert len(summary["left"]) == summary["made"]
    command = printed.err.splitlines()[-1]
    file = Path(command.rpartition("< ")[2])
    assert file.read_text().split() == summary["left"]
    allowed = command.replace("Bearer KEY", "Bearer 0123456789abcdef")
    subprocess.run(["sh", "-c", allowed], check=True, capture_output=True)
    file.unlink()
    assert stored(folder) == set()


@pytest.mark.parametrize(("key", "status"), [("0" * 16, "401"), ("", "401")])
def test_bench_serve__a_key_that_is_refused(arguments, capsys, key, status):
    assert main(replace(arguments, key=key)) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("ServiceError")
    assert status in printed
    assert "--key" in printed


def test_bench_serve__a_picture_that_is_refused(arguments, folder, tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no picture")
    index = arguments.index("--picture") + 1
    assert main([*arguments[: index + 1], "text.jpg", *arguments[index + 1 :]]) == 1
    assert "text.jpg" in capsys.readouterr().err
    assert stored(folder) == set()  # the first picture's is deleted


def test_bench_serve__no_answer(arguments, capsys):
    assert main([arguments[0], "127.0.0.1:9", *arguments[2:]]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("ServiceError")
    assert "serve" in printed


def test_bench_serve__another_machine_needs_remote(arguments, capsys):
    assert main([arguments[0], "http://192.0.2.1:8000", *arguments[2:]]) == 1
    assert "--remote" in capsys.readouterr().err


def test_bench_serve__missing_file(arguments, capsys):
    assert main(replace(arguments, picture="nothing.jpg")) == 1
    assert "nothing.jpg" in capsys.readouterr().err


@pytest.mark.parametrize(
    "values",
    [{"seconds": "0"}, {"seconds": "601"}, {"clients": "65"}, {"clients": "1,,2"},
     {"clients": ",".join("1" * 9)}, {"seconds": "x"}],
)  # fmt: skip
def test_bench_serve__wrong_usage(arguments, values):
    with pytest.raises(SystemExit) as caught:
        main(replace(arguments, **values))
    assert caught.value.code == 2


def test_bench_serve__interrupted_deletes_its_embeddings(arguments, folder, tmp_path):
    command = [sys.executable, "-m", "dino_assets.cli", *replace(arguments, seconds="60")]
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that started the tests in the background has switched Ctrl-C off for them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: len(stored(folder)) > 4)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "deleted the" in printed
    assert stored(folder) == set()
