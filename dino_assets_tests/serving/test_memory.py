"""Memory of a running service with a large photograph, measured from outside its process."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from dino_assets_tests.conftest import photo_bytes
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.servers import HOST, free_port, running

ALLOWED_MB = 200


def read_mb(process: "subprocess.Popen[bytes]", what: str) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) / 1024


@pytest.mark.slow
def test_embed__20_megapixels_within_200_mb_of_idle(tmp_path: Path, monkeypatch):
    """294 tiles of 768 dims, 618 MB; one thin layer is enough: memory does not depend on depth."""
    write_sample(tmp_path / "wide", "dinov2", dim=768, layers=1, heads=1, mlp_ratio=1)
    monkeypatch.setenv("DINO_MODEL_ID", str(tmp_path / "wide"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    port = free_port()
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "uvicorn", "dino_assets.serving.app:app", "--port", str(port)]
    log = tmp_path / "log"
    with running(command, url=f"{url}/health", log=log, cwd=tmp_path) as process:
        with httpx.Client(base_url=url, timeout=600) as client:
            while client.get("/ready").status_code != 200:
                assert process.poll() is None, log.read_text()

            def embed(photo: bytes, **fields: str) -> dict:
                answer = client.post("/embed", files={"file": ("a.jpg", photo)}, data=fields)
                assert answer.status_code == 200, answer.text
                return answer.json()

            embed(photo_bytes(2048, 1536, quality=30), tokens="mean")  # buffers are allocated now
            Path(f"/proc/{process.pid}/clear_refs").write_text(
                "5"
            )  # resets the peak to the current value
            idle_mb = read_mb(process, "VmHWM")
            answer = embed(photo_bytes(5472, 3648, quality=30))
            assert answer["shape"] == [294, 1369, 768]
            more_mb = read_mb(process, "VmHWM") - idle_mb
            print(f"{more_mb:.0f} MB above the idle peak of {idle_mb:.0f} MB")
            assert more_mb <= ALLOWED_MB
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
