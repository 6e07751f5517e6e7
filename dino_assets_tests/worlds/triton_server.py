"""A real Triton server on the CPU: the one in nvidia-pytriton's wheel, unpacked, never imported.

It has no ONNX Runtime backend; a Python one takes its name, so that a repository is loaded as it is.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets_tests.worlds.servers import free_port

WHEEL = "nvidia-pytriton==0.7.0"
# The stub's own: it is built against NumPy 1.
STUB_PACKAGES = ("numpy==1.26.4", "onnxruntime==1.22.1")
BACKEND = """
import json, os, sys
sys.path.insert(0, os.environ["STUB_PACKAGES"])
import numpy as np
import onnxruntime
import triton_python_backend_utils as utils

class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        self.session = onnxruntime.InferenceSession(
            os.path.join(folder, "model.onnx"), providers=["CPUExecutionProvider"])
        self.seen = os.path.join(os.environ["SEEN_FOLDER"], args["model_instance_name"])

    def execute(self, requests):
        given = [utils.get_input_tensor_by_name(r, "pixel_values").as_numpy() for r in requests]
        with open(self.seen, "a") as seen:
            seen.write(json.dumps([len(each) for each in given]) + "\\n")
        (hidden,) = self.session.run(["last_hidden_state"], {"pixel_values": np.concatenate(given)})
        answers, first = [], 0
        for each in given:
            tensor = utils.Tensor("last_hidden_state", hidden[first:first + len(each)])
            answers.append(utils.InferenceResponse(output_tensors=[tensor]))
            first += len(each)
        return answers
"""


@dataclass(frozen=True)
class Triton:
    """A server that answers."""

    port: int
    seen_folder: Path
    log: Path

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/v2/{path}", timeout=30
        ) as response:
            text = response.read()
        return json.loads(text) if text else None

    def is_ready(self, path: str) -> bool:
        try:
            self.ask(path)
        except (OSError, urllib.error.URLError):
            return False
        return True

    def infer(self, model: str, values: NDArray[Any]) -> NDArray[np.float32]:
        """One request in the binary form of the protocol."""
        kind = {"float32": "FP32", "uint8": "UINT8"}[str(values.dtype)]
        size = {"binary_data_size": values.nbytes}
        head = json.dumps(
            {
                "inputs": [
                    {
                        "name": "pixel_values",
                        "shape": list(values.shape),
                        "datatype": kind,
                        "parameters": size,
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v2/models/{model}/infer",
            data=head + np.ascontiguousarray(values).tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            length = int(response.headers["Inference-Header-Content-Length"])
            body = response.read()
        (output,) = json.loads(body[:length])["outputs"]
        return np.frombuffer(body[length:], np.float32).reshape(output["shape"])

    def list_batches(self) -> list[list[int]]:
        """For each call of the model, how many tiles each request in it had."""
        lines = [
            line for path in self.seen_folder.iterdir() for line in path.read_text().split("\n")
        ]
        return [json.loads(line) for line in lines if line]


def unpack_triton(folder: Path) -> Path:
    """Download server and stub packages; raises CalledProcessError where they cannot be had."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "0"]
    download = [*pip, "download", "-q", "--no-deps", WHEEL, "-d", str(folder / "wheel")]
    packages = [*pip, "install", "-q", "--target", str(folder / "packages"), *STUB_PACKAGES]
    for command in (download, packages):
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    (wheel,) = (folder / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "triton")
    server = folder / "triton" / "pytriton" / "tritonserver"
    python = server / "backends" / "python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = python / "triton_python_backend_stub"
    shutil.copy(server / "python_backend_stubs" / version / stub.name, stub)
    for program in (stub, server / "bin" / "tritonserver"):
        program.chmod(0o755)
    (server / "backends" / "onnxruntime").mkdir()
    (server / "backends" / "onnxruntime" / "model.py").write_text(BACKEND)
    return folder


@contextmanager
def serving_triton(unpacked: Path, repository: Path, folder: Path) -> Iterator[Triton]:
    """Start the server on a repository, until it answers."""
    libraries, server = (
        unpacked / "triton" / "nvidia_pytriton.libs",
        unpacked / "triton" / "pytriton",
    )
    port, seen_folder = free_port(), folder / "seen"
    seen_folder.mkdir(parents=True)
    command = [
        server / "tritonserver" / "bin" / "tritonserver",
        f"--model-repository={repository}",
        f"--backend-directory={server / 'tritonserver' / 'backends'}",
        f"--http-port={port}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--allow-gpu-metrics=false",
        "--exit-on-error=false",
    ]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{libraries}:{Path(sys.base_prefix) / 'lib'}",
        "STUB_PACKAGES": str(unpacked / "packages"),
        "SEEN_FOLDER": str(seen_folder),
    }
    log = folder / "triton.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=sink, stderr=sink, env=environment
        )
    triton = Triton(port, seen_folder, log)
    try:
        deadline = time.monotonic() + 120
        while not triton.is_ready("health/live"):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield triton
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
