"""OpenVINO: no analytics, a network kept whole, threads as told."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_assets.embeddings.encoder.converted import label_network
from dino_assets.embeddings.encoder.engine import NetworkSource
from dino_assets.embeddings.encoder.openvino_engine import (
    OpenVinoEncoder,
    convert_network,
    has_bf16,
    import_openvino,
)
from dino_assets_tests.worlds.networks import (
    Sample,
    assert_close,
    assert_same,
    compute_expected,
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
from dino_assets.embeddings.encoder.choosing import build_engine
from dino_assets.embeddings.encoder.engine import EngineSpec, NetworkSource
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


def test_openvino__uses_no_network_and_does_not_write_to_home(one_tiny: Sample, tmp_path: Path):
    home, spy = tmp_path / "home", tmp_path / "spy"
    process = run_python(ENCODE, one_tiny.folder, tmp_path / "kept", home=home, spy=spy)
    assert process.returncode == 0, process.stderr
    assert not (spy / "notes").exists(), (spy / "notes").read_text()
    assert list(home.rglob("*")) == []
    assert process.stdout.splitlines()[1] == "[]"


def test_openvino__telemetry_is_active_without_our_import(tmp_path: Path):
    """The spy sees what we prevent; if OpenVINO stops asking, our line can go."""
    home, spy = tmp_path / "home", tmp_path / "spy"
    process = run_python("import openvino", home=home, spy=spy)
    assert process.returncode == 0, process.stderr
    assert (spy / "notes").exists() or list(home.rglob("*"))


def test_import_openvino__is_cached_and_without_telemetry(monkeypatch: pytest.MonkeyPatch):
    assert import_openvino() is import_openvino()
    assert sys.modules["openvino_telemetry"] is None


MISSING_SCRIPT = """
import sys
from dino_assets.embeddings.encoder.openvino_engine import has_openvino
sys.modules["openvino"] = None
assert not has_openvino()
del sys.modules["openvino"]
assert has_openvino()
"""


def test_has_openvino__not_installed(tmp_path: Path):
    process = run_python(MISSING_SCRIPT, home=tmp_path / "home", spy=tmp_path / "spy")
    assert process.returncode == 0, process.stderr


def test_has_bf16__equals_the_processor_flags():
    # without such a unit OpenVINO computes float32 under that name
    flags = Path("/proc/cpuinfo")
    if not flags.is_file():
        pytest.skip("only Linux lists what its processor can do")
    text = flags.read_text()
    assert has_bf16() == ("avx512_bf16" in text or "amx_bf16" in text)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("numerics", "name"), [("fp32", "f32"), ("bf16", "bf16")])
def test_openvino_encoder__uses_the_given_threads_and_precision(
    one_tiny: Sample, numerics: str, name: str, threads: int
):
    if numerics == "bf16" and not has_bf16():
        pytest.skip("this processor has no bfloat16")
    encoder = OpenVinoEncoder(one_tiny.at(SIDE), spec("openvino", numerics, 1, threads))
    get = encoder.compiled.get_property
    assert (get("INFERENCE_NUM_THREADS"), get("NUM_STREAMS")) == (threads, threads)
    assert get("INFERENCE_PRECISION_HINT").to_string() == name
    assert get("ENABLE_CPU_PINNING") is False


@pytest.mark.parametrize("numerics", ["fp32", "bf16"])
def test_openvino_encoder__widened_engine_gives_the_same_bits(one_tiny: Sample, numerics: str):
    encoder = OpenVinoEncoder(one_tiny.at(SIDE), spec("openvino", numerics, 1, 2))
    tiles = draw_tiles(6, SIDE)
    narrow = [encoder.encode(tile[None]) for tile in tiles]
    assert_same(encoder.encode(tiles[:1], is_alone=True), narrow[0])  # not widened yet
    assert encoder.widen()
    for tile, expected in zip(tiles, narrow, strict=True):
        assert_same(encoder.encode(tile[None], is_alone=True), expected)
    with ThreadPoolExecutor(2) as pool:  # two that both think that they are alone
        calls = [pool.submit(encoder.encode, tile[None], is_alone=True) for tile in tiles]
    for call, expected in zip(calls, narrow, strict=True):
        assert_same(call.result(), expected)


def test_openvino_encoder__widened_engine_with_other_bits_is_not_used(one_tiny: Sample):
    class OffByALittle(OpenVinoEncoder):
        def _infer(self, request, tiles):
            outputs = super()._infer(request, tiles)
            is_own = request is getattr(self._own, "request", None)
            return outputs if is_own else tuple(each + np.float32(1e-6) for each in outputs)

    encoder = OffByALittle(one_tiny.at(SIDE), spec("openvino", "fp32", 1, 2))
    assert not encoder.widen()
    (tile,) = draw_tiles(1, SIDE)
    assert_same(encoder.encode(tile[None], is_alone=True), encoder.encode(tile[None]))


def test_openvino_encoder__one_thread_needs_no_widening(one_tiny: Sample):
    encoder = OpenVinoEncoder(one_tiny.at(SIDE), spec("openvino", "fp32", 1, 1))
    assert not encoder.widen()


def test_openvino_encoder__pins_no_threads(one_tiny: Sample):
    before = os.sched_getaffinity(0)
    OpenVinoEncoder(one_tiny.at(SIDE), spec("openvino", "fp32")).encode(draw_tiles(3, SIDE))
    assert os.sched_getaffinity(0) == before


def test_openvino_encoder__bf16_is_not_float32(one_tiny: Sample):
    if not has_bf16():
        pytest.skip("this processor has no bfloat16")
    tiles = draw_tiles(3, SIDE)
    reference = compute_expected(one_tiny, tiles)
    tokens = OpenVinoEncoder(one_tiny.at(SIDE), spec("openvino", "bf16")).encode(tiles)
    assert 1e-4 < abs(tokens["cls"] - reference["cls"]).max() < 0.1


@dataclass
class Converter:
    """Converts, and counts; or must not be asked."""

    batches: list[int] = field(default_factory=list)
    is_forbidden: bool = False

    def __call__(self, source: NetworkSource, *, batch: int) -> Any:
        assert not self.is_forbidden, "converted again"
        self.batches.append(batch)
        return convert_network(source, batch=batch)


@pytest.fixture
def converter() -> Converter:
    return Converter()


def build(
    sample: Sample,
    cache_folder: Path | None,
    batch: int = 2,
    side: int = SIDE,
    convert: Converter | None = None,
) -> OpenVinoEncoder:
    engine = spec("openvino", "fp32", batch)
    return OpenVinoEncoder(sample.at(side), engine, cache_folder=cache_folder, convert=convert)


@pytest.fixture(scope="module")
def kept_network(
    sample_of: Callable[..., Sample], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The network of ``one_tiny`` as it is kept, for two tiles per call. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("converted") / "kept"
    build(sample_of("dinov3_vit"), folder)
    return folder


def test_open_converted__reads_the_cache_the_second_time(
    one_tiny: Sample, tmp_path: Path, converter: Converter
):
    tiles, cache_folder = draw_tiles(3, SIDE), tmp_path / "deep" / "kept"
    tokens = build(one_tiny, cache_folder, convert=converter).encode(tiles)
    assert sorted(path.name for path in cache_folder.iterdir()) == [
        "network.bin",
        "network.xml",
        "stamp.json",
    ]
    assert [path.name for path in cache_folder.parent.iterdir()] == ["kept"]
    converter.is_forbidden = True
    (cache_folder / "gate.json").write_text("notes of others")
    assert_same(build(one_tiny, cache_folder, convert=converter).encode(tiles), tokens)


def test_open_converted__cached_network_gives_equal_vectors(one_tiny: Sample, tmp_path: Path):
    tiles = draw_tiles(3, SIDE)
    tokens = build(one_tiny, tmp_path / "kept").encode(tiles)
    assert_same(tokens, build(one_tiny, None).encode(tiles))


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
def test_open_converted__converts_again_if_damaged(
    one_tiny: Sample,
    kept_network: Path,
    tmp_path: Path,
    converter: Converter,
    caplog,
    name: str,
    damage: str,
):
    tiles = draw_tiles(2, SIDE)
    cache_folder = shutil.copytree(kept_network, tmp_path / "kept")
    expected = build(one_tiny, kept_network).encode(tiles)
    file = cache_folder / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x40
    {
        "flipped": lambda: file.write_bytes(data),
        "cut": lambda: file.write_bytes(data[: len(data) // 2]),
        "empty": lambda: file.write_bytes(b""),
        "gone": file.unlink,
    }[damage]()
    with caplog.at_level(logging.WARNING, "dino_assets"):
        assert_same(build(one_tiny, cache_folder, convert=converter).encode(tiles), expected)
    assert [record.getMessage() for record in caplog.records] == [
        "the converted network in kept is damaged or belongs to another model; converting it again"
    ]
    assert_same(
        build(one_tiny, cache_folder, convert=converter).encode(tiles), expected
    )  # and is whole again
    assert converter.batches == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_open_converted__converts_again_for_another_network(
    one_tiny: Sample, tmp_path: Path, converter: Converter
):
    """Whatever folder a caller names: nobody gets another model's numbers."""
    cache_folder, tiles = tmp_path / "kept", draw_tiles(2, SIDE)
    build(one_tiny, cache_folder, convert=converter)
    build(one_tiny, cache_folder, batch=3, convert=converter)
    build(one_tiny, cache_folder, batch=3, side=80, convert=converter)
    other_sample = replace(
        one_tiny, checkpoint=replace(one_tiny.checkpoint, weights_sha256="0" * 64)
    )
    build(other_sample, cache_folder, batch=3, side=80, convert=converter)
    cls = replace(one_tiny.at(SIDE), outputs=("cls",))
    assert (
        OpenVinoEncoder(
            cls, spec("openvino", "fp32", 3), cache_folder=cache_folder, convert=converter
        )
        .encode(tiles)
        .mean
        is None
    )
    assert converter.batches == [2, 3, 3, 3, 3]
    label = json.loads((cache_folder / "stamp.json").read_text())["of"]
    assert (label["side"], label["batch"], label["outputs"]) == (SIDE, 3, ["cls"])


def test_open_converted__two_threads_at_once(
    one_tiny: Sample, tmp_path: Path, converter: Converter
):
    """torch traces and transformers loads by changing what threads share: they take turns."""
    tiles, cache_folder = draw_tiles(2, SIDE), tmp_path / "kept"
    with ThreadPoolExecutor(2) as pool:
        tokens_by_thread = [
            e.encode(tiles)
            for e in pool.map(lambda _: build(one_tiny, cache_folder, convert=converter), range(2))
        ]
    assert_same(*tokens_by_thread)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert converter.batches == [2]  # who waited read what the other had made


@pytest.mark.slow
def test_open_converted__two_processes_at_once_and_one_killed(one_tiny: Sample, tmp_path: Path):
    cache_folder = tmp_path / "kept" / "network"
    args = [sys.executable, "-c", ENCODE, str(one_tiny.folder), str(cache_folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed_process = subprocess.Popen(args, env=environment, stdout=subprocess.DEVNULL)
    while killed_process.poll() is None and not any(cache_folder.parent.glob("network-*")):
        pass
    killed_process.kill()
    killed_process.wait()
    processes = [
        subprocess.Popen(args, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert sorted(path.name for path in cache_folder.iterdir()) == [
        "network.bin",
        "network.xml",
        "stamp.json",
    ]
    assert (
        outputs[0]
        == subprocess.run(args, env=environment, capture_output=True, text=True, check=True).stdout
    )


def test_open_converted__leftovers_of_a_kill_do_no_harm(
    one_tiny: Sample, tmp_path: Path, converter: Converter
):
    cache_folder, tiles = tmp_path / "kept", draw_tiles(2, SIDE)
    leftover = tmp_path / "kept-x7f3"
    (leftover / "new").mkdir(parents=True)
    (leftover / "new" / "network.xml").write_text("half a net")
    tokens = build(one_tiny, cache_folder, convert=converter).encode(tiles)
    converter.is_forbidden = True
    assert_same(build(one_tiny, cache_folder, convert=converter).encode(tiles), tokens)
    assert leftover.is_dir()
    # A day later nobody can be at work in it any more.
    os.utime(leftover, (0, 0))
    shutil.rmtree(cache_folder)
    build(one_tiny, cache_folder)
    assert not leftover.exists()


def test_open_converted__another_config_is_another_network(one_tiny: Sample, tmp_path: Path):
    """The same weights: what was converted for other heads or statistics is not taken."""
    engine_spec = spec("openvino", "fp32", 2)
    labels = [
        label_network(replace(source, checkpoint=checkpoint), engine_spec, version="1")
        for source in [one_tiny.at(SIDE)]
        for checkpoint in (one_tiny.checkpoint, replace(one_tiny.checkpoint, network="other"))
    ]
    assert labels[0] != labels[1]


def test_open_converted__replaces_an_incomplete_folder(one_tiny: Sample, tmp_path: Path):
    cache_folder, tiles = tmp_path / "kept", draw_tiles(2, SIDE)
    cache_folder.mkdir()
    (cache_folder / "network.xml").write_text("half a net")
    assert_close(build(one_tiny, cache_folder).encode(tiles), compute_expected(one_tiny, tiles))


def test_open_converted__folder_deleted_while_in_use(one_tiny: Sample, tmp_path: Path):
    cache_folder, tiles = tmp_path / "kept", draw_tiles(2, SIDE)
    encoder = build(one_tiny, cache_folder)
    shutil.rmtree(cache_folder)
    assert_close(encoder.encode(tiles), compute_expected(one_tiny, tiles))


def test_convert_network__gives_no_warning(one_tiny: Sample, capfd, caplog):
    build(one_tiny, None).encode(draw_tiles(1, SIDE))
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
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


DROPPED = """
import gc, signal, subprocess, threading
from dino_assets.embeddings.encoder.openvino_engine import open_core
cores = [open_core()]
cores[0].get_property("CPU", "OPTIMIZATION_CAPABILITIES")  # loads the plug-in in this thread
def drop():
    cores.clear()
    gc.collect()
thread = threading.Thread(target=drop)
thread.start()
thread.join()
signal.signal(signal.SIGCHLD, lambda number, frame: print("handled"))
subprocess.run(["true"])
"""


def test_open_core__signals_are_handled_after_its_users_ended_in_another_thread():
    """A process whose last core was closed by another thread died of SIGSEGV at its next signal."""
    script = [sys.executable, "-X", "faulthandler", "-c", DROPPED]
    process = subprocess.run(script, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "handled\n"


FORKED = """
import os, signal
import numpy as np
from dino_assets.embeddings.encoder.openvino_engine import has_bf16, import_openvino, open_core
openvino, _ = import_openvino(), has_bf16()
from openvino import opset13 as ops
child = os.fork()
if not child:
    signal.alarm(30)
    numbers = np.ones((4, 512, 512), np.float32)
    node = ops.parameter(numbers.shape, np.float32)
    product = ops.matmul(node, ops.constant(numbers[0]), False, False)
    options = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 2}
    compiled = open_core().compile_model(openvino.Model([product], [node]), "CPU", options)
    compiled([numbers])
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_open_core__works_in_a_fork_of_a_process_without_a_model():
    """A core that is kept from the import on made such a child wait for ever."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=120)


@pytest.mark.slow
def test_import_openvino__simultaneous_first_inferences_do_not_deadlock():
    """Without the one inference at the import, 3 of 14 processes hung for ever."""
    for _ in range(15):
        subprocess.run([sys.executable, "-c", RACE], check=True, timeout=60)
