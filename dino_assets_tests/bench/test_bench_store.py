"""Memory of writing and reading a table far larger than it may use: each in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench
PROJECT = Path(__file__).parents[2]
ROWS, DIM, BATCH = 1_000_000, 384, 4096
LIMIT_MB = 600

WRITE = f"""
import numpy as np, pyarrow as pa
from dino_assets.store.commits.protocol import Draft, Recipe
from dino_assets.store.commits.writing import commit
schema = pa.schema([("tile_id", pa.string()), ("cls", pa.list_(pa.float16(), {DIM}))])
rng = np.random.default_rng(0)

def produce(out):
    for at in range(0, {ROWS}, {BATCH}):
        count = min({BATCH}, {ROWS} - at)
        values = pa.array(rng.standard_normal(count * {DIM}, np.float32).astype(np.float16))
        ids = pa.array([f"{{n:016x}}-x00000y00000w00518h00518-g1" for n in range(at, at + count)])
        out.rows(pa.record_batch([ids, pa.FixedSizeListArray.from_arrays(values, {DIM})], schema))

manifest = commit(store, Draft(Recipe(output, "1"), produce, schema)).manifest
said = {{"rows": manifest.rows, "bytes": manifest.bytes, "parts": len(manifest.parts)}}
"""

READ = """
from dino_assets.store.commits.reading import open_table
rows = 0
for _, part in open_table(store, output.asset, space=output.space).parts():
    rows += part.num_rows
said = {"rows": rows}
"""

AROUND = """
import json, resource, sys, time
from pathlib import Path
from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.protocol import OutputId
from dino_assets.store.objects import open_store
store = open_store(StorageSettings(url="store", root=Path(sys.argv[1])))
output = OutputId("embeddings", "flight-1", "space1")
started = time.perf_counter()
{body}
said["seconds"] = round(time.perf_counter() - started, 1)
said["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print(json.dumps(said))
"""


def run(body: str, folder: Path) -> dict:
    ended = subprocess.run(
        [sys.executable, "-c", AROUND.replace("{body}", body), str(folder)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout)


def test_commit_and_read__a_million_vectors_in_bounded_memory(tmp_path: Path):
    for verb, body in (("write", WRITE), ("read", READ)):
        said = run(body, tmp_path)
        print(f"{verb}: {said}")
        assert said["rows"] == ROWS
        assert said["peak_mb"] <= LIMIT_MB
