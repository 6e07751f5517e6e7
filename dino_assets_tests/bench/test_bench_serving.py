"""The service under a flood of 32 clients: `/health`, memory, and whether refusals say the right time.

A ViT-S/14 with random weights at 518 px, a process of its own under plain uvicorn; the clients are on the
same machine. ``SERVING_BENCH_S`` makes it longer than a minute and a half, ``SERVING_BENCH_NPZ`` names a
file for what was seen: ``flood_picture.py`` draws it.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from dino_assets.serving.bench.flood import Flood
from dino_assets_tests.bench.serving_flood import draw_mix, is_odd, judge_refusals, watch
from dino_assets_tests.conftest import REPOSITORY
from dino_assets_tests.worlds.networks import write_sample
from dino_assets_tests.worlds.servers import HOST, free_port, running

pytestmark = pytest.mark.bench
SECONDS = float(os.environ.get("SERVING_BENCH_S", "90"))
HEALTH_P99_S, HEALTH_MOST_S = 0.050, 0.100
GROWTH_MB = 50
RIGHT_SHARE = 0.9


@pytest.fixture
def served(tmp_path: Path, monkeypatch) -> Iterator[tuple[str, int]]:
    write_sample(tmp_path / "s", "dinov2", dim=384, layers=12, heads=6, native_px=518)
    monkeypatch.setenv("DINO_MODEL_ID", str(tmp_path / "s"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("DINO_QUEUE_S", "20")
    port = free_port()
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "uvicorn", "dino_assets.serving.app:app", "--port", str(port)]
    with running(command, url=f"{url}/health", log=tmp_path / "log", cwd=tmp_path) as process:
        while httpx.get(f"{url}/ready").status_code != 200:
            assert process.poll() is None
        yield url, process.pid


def test_serving__under_a_flood(served):
    url, pid = served
    pictures = draw_mix()
    stopping, records = threading.Event(), []
    watcher = threading.Thread(target=lambda: records.append(watch(url, pid, stopping)))
    watcher.start()
    health_process = subprocess.Popen(
        [sys.executable, "-m", "dino_assets_tests.bench.serving_flood", url, str(SECONDS)],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    answers = Flood(url, [pictures] * 32, seconds=SECONDS, seed=0).wait()
    health_answers = np.array(json.loads(health_process.communicate()[0]))
    stopping.set()
    watcher.join()
    health = health_answers[:, 1]
    if file := os.environ.get("SERVING_BENCH_NPZ"):
        np.savez(file, answers=health_answers, watched=np.array(records[0].rows))
    times, _, _, rss = np.array(records[0].rows).T
    # What two photographs of 20 MP at once take comes and goes; what grows is higher in the end.
    first, second = np.array_split(rss, 2)
    growth = second.max() - first.max()
    odd_answers = [each for each in answers if is_odd(each)]
    refusals = [each for each in answers if each.is_refusal and each not in odd_answers]
    returns = [each.status == 200 for each in answers if each.is_return]
    shares = np.array(judge_refusals(refusals, records[0]))
    right_share = float(((shares >= 0.5) & (shares <= 2)).mean())
    p50, p99 = np.percentile(health, [50, 99])
    print(
        f"\n\n{len(health)} × /health: p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, most "
        f"{health.max() * 1e3:.1f} ms\nmemory: at most {first.max():.0f} MB in the first half, "
        f"{growth:+.0f} MB in the second\n{len(refusals)} refusals, {len(shares)} of them "
        f"judged: {right_share:.1%} right within a factor of 2 (median {np.median(shares):.2f}); "
        f"{np.mean(returns):.1%} of {len(returns)} that came back in time were taken"
    )
    for tiles in sorted({each.tiles for each in answers if each.status == 200}):
        seconds = [each.took_s for each in answers if each.status == 200 and each.tiles == tiles]
        print(
            f"{len(seconds)} pictures of {tiles} tiles: p50 {np.median(seconds):.2f} s, most {max(seconds):.2f} s"
        )
    minutes = [
        rss[(times - times[0]) // 60 == m] for m in range(int((times[-1] - times[0]) // 60) + 1)
    ]
    print("MB by minute:", " ".join(f"{m.min():.0f}…{m.max():.0f}" for m in minutes if len(m)))
    assert not odd_answers
    assert len(refusals) >= 20
    assert right_share >= RIGHT_SHARE
    assert growth <= GROWTH_MB
    assert p99 <= HEALTH_P99_S
    assert health.max() <= HEALTH_MOST_S
