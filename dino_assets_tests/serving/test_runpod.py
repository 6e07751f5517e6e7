"""The serverless handler under RunPod's own SDK: its local API with the example client, its worker loop."""

import base64
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_assets.serving.handler import handler, open_model
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.runpod_sdk import install_sdk, running_worker, serving_jobs
from dino_assets_tests.worlds.servers import free_port

pytestmark = pytest.mark.slow
CLIENT = REPOSITORY / "examples" / "serverless" / "client.py"


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return install_sdk(tmp_path_factory.mktemp("sdk"))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as err:
        pytest.skip(f"RunPod's SDK cannot be installed here: {str(err.stderr)[-300:]}")


@pytest.fixture
def model(tmp_path: Path, monkeypatch) -> str:
    folder = tmp_path / "tiny"
    write_sample(folder, "dinov2")
    monkeypatch.setenv("DINO_MODEL_ID", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return str(folder)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    sink = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    Image.fromarray(pixels).save(sink, "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(sink.getvalue())
    return path


def ask(picture: Path) -> dict[str, object]:
    return {"input": {"image": base64.b64encode(picture.read_bytes()).decode()}}


def test_runpod__local_api_and_the_client(sdk: Path, model: str, picture: Path, tmp_path: Path):
    port, log = free_port(), tmp_path / "worker.log"
    expected = handler(ask(picture), model=open_model)["embedding"]
    url = f"http://127.0.0.1:{port}/runsync"
    started = time.monotonic()
    with running_worker(sdk, log, "--rp_serve_api", "--rp_api_port", str(port)) as worker:

        def call(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, str(CLIENT), *arguments, "--url", url]
            return subprocess.run(command, capture_output=True, text=True)

        while (process := call(str(picture))).returncode:
            assert worker.poll() is None, log.read_text()
            assert "refused" in process.stderr, process.stderr
            assert time.monotonic() - started < 120, log.read_text()
            time.sleep(0.2)
        print(f"first answer after {time.monotonic() - started:.1f} s")
        np.testing.assert_allclose(
            json.loads(process.stdout)["embedding"], expected, rtol=0, atol=1e-5
        )
        refusal = call(str(CLIENT))
        assert refusal.returncode == 1
        assert refusal.stderr.startswith("RuntimeError: not-an-image")
        assert "Traceback" not in refusal.stderr


def test_runpod__worker_loop(sdk: Path, model: str, picture: Path, tmp_path: Path):
    expected = handler(ask(picture), model=open_model)["embedding"]
    with serving_jobs() as jobs:
        jobs.jobs.put({"id": "good", **ask(picture)})
        jobs.jobs.put({"id": "bad", "input": {"image": "?"}})
        jobs.jobs.put({"id": "again", **ask(picture)})
        with running_worker(sdk, tmp_path / "worker.log", **jobs.environment):
            answers = dict(jobs.results.get(timeout=120) for _ in range(3))
    for name in ("good", "again"):
        np.testing.assert_allclose(
            answers[name]["output"]["embedding"], expected, rtol=0, atol=1e-5
        )
    assert answers["bad"]["error"].startswith("not-base64")
    assert "Traceback" not in json.dumps(answers)
