"""OpenVINO: no analytics, a network kept whole, threads as told."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dino_assets.embeddings.encoder import openvino_engine
from dino_assets.embeddings.encoder.converted import label_network
from dino_assets.embeddings.encoder.openvino_engine import (
    OpenVinoEncoder,
    has_bf16,
    has_openvino,
    import_openvino,
)
from dino_assets_tests.worlds.networks import (
    Sample,
    ask_transformers,
    assert_close,
    assert_same,
    draw_tiles,
    spec,
)

SIDE = 64
# Every Python of the process tree notes whom it looks up or calls, and is refused.
SPY = """
import os, socket
def refuse(*args, **kwargs):
    with open(os.environ["SPY_NOTES"], "a") as notes:
        notes.write(f"{args}\\n")
    raise socket.gaierror("refused by the test")
socket.getaddrinfo = socket.gethostbyname = socket.gethostbyname_ex = refuse
socket.socket.connect = socket.socket.connect_ex = lambda self, *args: refuse(*args)
"""
ENCODE = """
import sys
from pathlib import Path
import numpy as np
from dino_assets.embeddings.encoder import EngineSpec, NetworkSource, build_engine
from dino_assets.weights.checkpoint import read_checkpoint
folder, kept = Path(sys.argv[1]), Path(sys.argv[2])
source = NetworkSource(folder, read_checkpoint(folder, model="tiny"), 64)
encoder = build_engine(source, EngineSpec("openvino", "cpu", "fp32", 2), cache_folder=kept)
print(encoder.encode(np.zeros((2, 64, 64, 3), np.uint8)).cls.tobytes().hex())
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name]))
"""


def run_python(code: str, *args: object, home: Path, spy: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that knows no home and no network."""
    spy.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True)
    (spy / "sitecustomize.py").write_text(SPY)
    root = Path(__file__).parents[3]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "SPY_NOTES": str(spy / "notes"),
        "PYTHONPATH": f"{spy}{os.pathsep}{root}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_openvino__asks_nobody_and_leaves_home_alone(one_tiny: Sample, tmp_path: Path):
    home, spy = tmp_path / "home", tmp_path / "spy"
    done = run_python(ENCODE, one_tiny.folder, tmp_path / "kept", home=home, spy=spy)
    assert done.returncode == 0, done.stderr
    assert not (spy / "notes").exists(), (spy / "notes").read_text()
    assert list(home.rglob("*")) == []
    assert done.stdout.splitlines()[1] == "[]"


def test_openvino__would_ask_without_us(tmp_path: Path):
    """The spy sees what we prevent; if OpenVINO stops asking, our line can go."""
    home, spy = tmp_path / "home", tmp_path / "spy"
    done = run_python("import openvino", home=home, spy=spy)
    assert done.returncode == 0, done.stderr
    assert (spy / "notes").exists() or list(home.rglob("*"))


def test_import_openvino__leaves_what_is_imported(monkeypatch: pytest.MonkeyPatch):
    assert import_openvino() is import_openvino()
    assert sys.modules["openvino_telemetry"] is None


def test_has_openvino__not_installed(monkeypatch: pytest.MonkeyPatch):
    openvino_engine._import.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert not has_openvino()
    monkeypatch.undo()
    assert has_openvino()


def test_has_bf16__is_what_the_processor_says():
    # without such a unit OpenVINO computes float32 under that name
    flags = Path("/proc/cpuinfo")
    if not flags.is_file():
        pytest.skip("only Linux lists what its processor can do")
    text = flags.read_text()
    assert has_bf16() == ("avx512_bf16" in text or "amx_bf16" in text)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("numerics", "name"), [("fp32", "f32"), ("bf16", "bf16")])
def test_compiled__with_the_threads_and_the_precision_asked(
    one_tiny: Sample, numerics: str, name: str, threads: int
):
    if numerics == "bf16" and not has_bf16():
        pytest.skip("this processor has no bfloat16")
    encoder = OpenVinoEncoder(one_tiny.at(SIDE), spec("openvino", numerics, 1, threads))
    get = encoder._compiled.get_property
    assert (get("INFERENCE_NUM_THREADS"), get("NUM_STREAMS")) == (threads, threads)
    assert get("INFERENCE_PRECISION_HINT").to_string() == name
    assert get("ENABLE_CPU_PINNING") is False


def test_openvino__pins_nobody(one_tiny: Sample):
    before = os.sched_getaffinity(0)
    OpenVinoEncoder(one_tiny.at(SIDE), spec("openvino", "fp32")).encode(draw_tiles(3, SIDE))
    assert os.sched_getaffinity(0) == before


def test_bf16__is_not_float32(one_tiny: Sample):
    if not has_bf16():
        pytest.skip("this processor has no bfloat16")
    tiles = draw_tiles(3, SIDE)
    wanted = ask_transformers(one_tiny, tiles)
    found = OpenVinoEncoder(one_tiny.at(SIDE), spec("openvino", "bf16")).encode(tiles)
    assert 1e-4 < abs(found["cls"] - wanted["cls"]).max() < 0.1


@pytest.fixture
def forbid_converting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def convert(*_: object, **__: object) -> None:
            raise AssertionError("converted again")

        monkeypatch.setattr(openvino_engine, "convert", convert)

    return forbid


@pytest.fixture
def count_conversions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    batches: list[int] = []
    convert = openvino_engine.convert

    def counted(source, *, batch: int):
        batches.append(batch)
        return convert(source, batch=batch)

    monkeypatch.setattr(openvino_engine, "convert", counted)
    return batches


def build(sample: Sample, kept: Path | None, batch: int = 2, side: int = SIDE) -> OpenVinoEncoder:
    return OpenVinoEncoder(sample.at(side), spec("openvino", "fp32", batch), cache_folder=kept)


def test_kept__is_read_the_second_time(one_tiny: Sample, tmp_path: Path, forbid_converting):
    tiles, kept = draw_tiles(3, SIDE), tmp_path / "deep" / "kept"
    first = build(one_tiny, kept).encode(tiles)
    assert sorted(path.name for path in kept.iterdir()) == [
        "network.bin",
        "network.xml",
        "stamp.json",
    ]
    assert [path.name for path in kept.parent.iterdir()] == ["kept"]
    forbid_converting()
    (kept / "gate.json").write_text("notes of others")
    assert_same(build(one_tiny, kept).encode(tiles), first)


def test_kept__computes_what_was_converted(one_tiny: Sample, tmp_path: Path):
    tiles = draw_tiles(3, SIDE)
    kept = build(one_tiny, tmp_path / "kept").encode(tiles)
    assert_same(kept, build(one_tiny, None).encode(tiles))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("network.bin", "flipped"),
        ("network.bin", "cut"),
        ("network.bin", "gone"),
        ("network.xml", "empty"),
        ("stamp.json", "flipped"),
        ("stamp.json", "gone"),
    ],
)
def test_kept__damaged_is_made_anew(
    one_tiny: Sample, tmp_path: Path, count_conversions: list[int], caplog, name: str, damage: str
):
    tiles, kept = draw_tiles(2, SIDE), tmp_path / "kept"
    wanted = build(one_tiny, kept).encode(tiles)
    file = kept / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x40
    {
        "flipped": lambda: file.write_bytes(data),
        "cut": lambda: file.write_bytes(data[: len(data) // 2]),
        "empty": lambda: file.write_bytes(b""),
        "gone": file.unlink,
    }[damage]()
    with caplog.at_level(logging.WARNING, "dino_assets"):
        assert_same(build(one_tiny, kept).encode(tiles), wanted)
    assert [record.getMessage() for record in caplog.records] == [
        "the converted network in kept is damaged or another one: made anew"
    ]
    assert_same(build(one_tiny, kept).encode(tiles), wanted)  # and is whole again
    assert len(count_conversions) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_kept__of_another_network_is_made_anew(
    one_tiny: Sample, tmp_path: Path, count_conversions: list[int]
):
    """Whatever folder a caller names: nobody gets another model's numbers."""
    kept, tiles = tmp_path / "kept", draw_tiles(2, SIDE)
    build(one_tiny, kept)
    build(one_tiny, kept, batch=3)
    build(one_tiny, kept, batch=3, side=80)
    other = replace(one_tiny, checkpoint=replace(one_tiny.checkpoint, weights_sha256="0" * 64))
    build(other, kept, batch=3, side=80)
    cls = replace(one_tiny.at(SIDE), outputs=("cls",))
    assert (
        OpenVinoEncoder(cls, spec("openvino", "fp32", 3), cache_folder=kept).encode(tiles).mean
        is None
    )
    assert count_conversions == [2, 3, 3, 3, 3]
    label = json.loads((kept / "stamp.json").read_text())["of"]
    assert (label["side"], label["batch"], label["outputs"]) == (SIDE, 3, ["cls"])


def test_kept__two_threads_at_once(one_tiny: Sample, tmp_path: Path, count_conversions: list[int]):
    """torch traces and transformers loads by changing what threads share: they take turns."""
    tiles, kept = draw_tiles(2, SIDE), tmp_path / "kept"
    with ThreadPoolExecutor(2) as pool:
        found = [e.encode(tiles) for e in pool.map(lambda _: build(one_tiny, kept), range(2))]
    assert_same(*found)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert count_conversions == [2]  # who waited read what the other had made


@pytest.mark.slow
def test_kept__two_processes_at_once_and_one_killed(one_tiny: Sample, tmp_path: Path):
    kept = tmp_path / "kept" / "network"
    args = [sys.executable, "-c", ENCODE, str(one_tiny.folder), str(kept)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.Popen(args, env=environment, stdout=subprocess.DEVNULL)
    while killed.poll() is None and not any(kept.parent.glob("network-*")):
        pass
    killed.kill()
    killed.wait()
    both = [
        subprocess.Popen(args, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [each.communicate(timeout=300)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert said[0] == said[1]
    assert sorted(path.name for path in kept.iterdir()) == [
        "network.bin",
        "network.xml",
        "stamp.json",
    ]
    assert (
        said[0]
        == subprocess.run(args, env=environment, capture_output=True, text=True, check=True).stdout
    )


def test_kept__what_a_kill_left_is_in_nobodys_way(
    one_tiny: Sample, tmp_path: Path, forbid_converting, monkeypatch: pytest.MonkeyPatch
):
    kept, tiles = tmp_path / "kept", draw_tiles(2, SIDE)
    left = tmp_path / "kept-x7f3"
    (left / "new").mkdir(parents=True)
    (left / "new" / "network.xml").write_text("half a net")
    first = build(one_tiny, kept).encode(tiles)
    forbid_converting()
    assert_same(build(one_tiny, kept).encode(tiles), first)
    assert left.is_dir()
    # A day later nobody can be at work in it any more.
    os.utime(left, (0, 0))
    shutil.rmtree(kept)
    monkeypatch.undo()
    build(one_tiny, kept)
    assert not left.exists()


def test_kept__another_config_is_another_network(one_tiny: Sample, tmp_path: Path):
    """The same weights: what was converted for other heads or statistics is not taken."""
    spec_ = spec("openvino", "fp32", 2)
    labels = [
        label_network(replace(source, checkpoint=checkpoint), spec_, version="1")
        for source in [one_tiny.at(SIDE)]
        for checkpoint in (one_tiny.checkpoint, replace(one_tiny.checkpoint, network="other"))
    ]
    assert labels[0] != labels[1]


def test_kept__half_a_folder_of_its_name(one_tiny: Sample, tmp_path: Path):
    kept, tiles = tmp_path / "kept", draw_tiles(2, SIDE)
    kept.mkdir()
    (kept / "network.xml").write_text("half a net")
    assert_close(build(one_tiny, kept).encode(tiles), ask_transformers(one_tiny, tiles))


def test_kept__folder_goes_while_it_is_used(one_tiny: Sample, tmp_path: Path):
    kept, tiles = tmp_path / "kept", draw_tiles(2, SIDE)
    encoder = build(one_tiny, kept)
    shutil.rmtree(kept)
    assert_close(encoder.encode(tiles), ask_transformers(one_tiny, tiles))


def test_convert__leaves_no_warning(one_tiny: Sample, capfd, caplog):
    build(one_tiny, None).encode(draw_tiles(1, SIDE))
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_encode__a_view_of_tiles(one_tiny: Sample):
    tiles = draw_tiles(4, SIDE)
    encoder = build(one_tiny, None)
    assert np.array_equal(encoder.encode(tiles[::-1])["cls"], encoder.encode(tiles)["cls"][::-1])


RACE = """
import sys, threading
import numpy as np
from dino_assets.embeddings.encoder.openvino_engine import import_openvino
openvino = import_openvino()
from openvino import opset13 as ops
sys.setswitchinterval(1e-6)
node = ops.parameter([1, 3, 8, 8], np.float32)
compiled = openvino.Core().compile_model(openvino.Model([ops.relu(node)], [node]), "CPU", {"NUM_STREAMS": 2})
barrier = threading.Barrier(2)
def first():
    request, given = compiled.create_infer_request(), np.zeros((1, 3, 8, 8), np.float32)
    barrier.wait()
    request.infer([given], share_inputs=True)
    np.array(request.get_output_tensor(0).data)
threads = [threading.Thread(target=first) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@pytest.mark.slow
def test_import_openvino__first_inferences_at_the_same_moment_do_not_wait_for_each_other():
    """Without the one inference at the import, 3 of 14 processes hung for ever."""
    for _ in range(30):
        subprocess.run([sys.executable, "-c", RACE], check=True, timeout=60)
