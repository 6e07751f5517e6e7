"""The lineage in processes of their own, to be killed: an order per line in, an exit code per line out.

Importing torch and Dagster takes longer than a run: one warm process does it, and forks per order.
Nothing here may start a thread before a fork, in Python, torch, obstore or Dagster.
"""

import functools
import importlib
import json
import os
import pkgutil
import signal
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from dino_assets.defs.instance import open_instance
from dino_assets.defs.resources import storage
from dino_assets.store.commits import claiming
from dino_assets_tests.defs.conftest import Lineage
from dino_assets_tests.worlds.store_doubles import WRITES, Strike, WatchedStore

TIMEOUT_S = 120
# One photograph: a drop has as many shards as photographs.
SHARD_TILES = 8
# What a run imports on its way.
WARM = (
    "alembic.command",
    "dagster._core.storage.sqlite_storage",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
    "transformers.models.dinov3_vit.modeling_dinov3_vit",
)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(function: str, n: int) -> None:
    """Die when a function is called for the ``n``-th time, counted from 0."""
    owner, _, name = function.rpartition(".")
    place = pkgutil.resolve_name(owner)
    inner, strike = getattr(place, name), Strike(n, die)

    @functools.wraps(inner)
    def watched(*args: object, **options: object) -> object:
        strike(name, "")
        return inner(*args, **options)

    setattr(place, name, watched)


def watch_writes(writes: list[str], *, last: str | None) -> None:
    """Note the keys written; die when ``last`` is in the store."""

    def note(verb: str, key: str) -> None:
        if key.startswith("claims/"):  # called otherwise each time, and deleted at once
            verb, key = verb.replace("delete", ""), f"{key.rpartition('/')[0]}/-"
        if verb in WRITES:
            writes.append(key)
            Path("writes.json").write_text(json.dumps(writes))
            if key == last:
                die()

    claiming.STALE = timedelta(seconds=1)  # that of a killed process
    original = storage.open_store
    storage.open_store = lambda settings: WatchedStore(original(settings), after=note)


def run_lineage(drops: list[str], report: Path) -> None:
    """Materialise everything for some drops, and write down what was done and told."""
    with open_instance(Path.cwd()) as instance:
        result = Lineage(instance).run(
            *drops,
            embeddings={"shard_tiles": SHARD_TILES},
            projections={"method": "linear"},
            selections={"budget": 4},
        )
        materializations = [
            event.materialization for event in result.get_asset_materialization_events()
        ]
        log_entries = instance.all_logs(result.run_id)
    document = {
        "success": result.success,
        "told": [{k: v.value for k, v in entry.metadata.items()} for entry in materializations],
        "log": [f"{entry.step_key}: {entry.user_message}" for entry in log_entries],
    }
    report.write_text(json.dumps(document))


def obey(
    *, project: str, environment: dict[str, str], drops: list[str], at: dict[str, Any]
) -> None:
    """Run in a project, and die ``at`` a function's ``n``-th call, or after a ``write``."""
    signal.alarm(TIMEOUT_S)
    # Dagster mirrors what a step prints; the answers go another way.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.environ.update(environment)
    os.chdir(project)
    writes: list[str] = []
    watch_writes(writes, last=at.get("write"))
    if "function" in at:
        die_at(**at)
    Path("writes.json").write_text("[]")
    run_lineage(drops, Path("report.json"))


def main() -> None:
    for name in WARM:
        importlib.import_module(name)
    Image.init()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                obey(**json.loads(line))
                code = 0
            finally:
                if code:
                    traceback.print_exc()
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
