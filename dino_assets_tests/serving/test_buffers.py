"""Memory settings of the C library: buffers of tiles are reused, those of photographs freed at once."""

import json
import platform
import subprocess
import sys

import pytest

from dino_assets_tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has mallopt")
TURNS, TILE_BYTES, PHOTO_BYTES = 100, 3 * 518 * 518 * 4, 60 * 10**6
# In a process of its own: the settings apply to the whole process and cannot be undone.
PROGRAM = f"""
import json, resource, sys, threading
import numpy as np
from dino_assets.serving.lifespan import keep_memory_flat

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize()

def work():
    for _ in range(10):
        np.ones({TILE_BYTES}, np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({TURNS}):
        tile, tokens = np.ones({TILE_BYTES}, np.uint8), np.ones(10**6, np.uint8)
        del tile, tokens
    measured["faults"] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    photo = np.ones({PHOTO_BYTES}, np.uint8)
    held = resident()
    del photo
    measured["given_back"] = held - resident()

measured = {{}}
keep_memory_flat()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(json.dumps(measured))
"""


def test_keep_memory_flat__reuses_tile_buffers_and_frees_photographs():
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    figures = json.loads(process.stdout)
    pages = TURNS * TILE_BYTES / 4096
    assert figures["faults"] < 0.1 * pages
    assert figures["given_back"] > 0.9 * PHOTO_BYTES
