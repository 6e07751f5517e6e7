"""A writer in a process of its own, to be killed: ``write`` is what the process runs."""

import hashlib
import os
import signal
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits import tables
from dino_assets.store.commits.parts import part_key
from dino_assets.store.commits.protocol import LocalFile
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets_tests.worlds.outputs import OUTPUT, full_draft, rows_draft
from dino_assets_tests.worlds.store_doubles import WRITES, Strike, WatchedStore


def die(verb: str, key: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def commit_and_die(store: ObjectStore, *, file: str, n: int, when: str) -> None:
    """Commit the full output; SIGKILL before or after the ``n``-th write."""
    path = Path(file)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    watched_store = WatchedStore(store, **{when: Strike(n, die, verbs=WRITES)})
    commit(
        watched_store,
        full_draft(watched_store, LocalFile(path, "weights.bin", digest, path.stat().st_size)),
    )


def put_until_killed(store: ObjectStore, *, size: int, puts: Connection) -> None:
    """Put large objects under the hash of their content, whole and in chunks, over and over."""
    bodies = [bytes([n]) * size for n in range(3)]
    keys = [part_key(OUTPUT, hashlib.sha256(data).hexdigest(), ".bin") for data in bodies]
    for n in range(100_000):
        key, data = keys[n % 3], bodies[n % 3]
        if n % 2:
            store.put_chunks(key, (data[start : start + 2**20] for start in range(0, size, 2**20)))
        else:
            store.put(key, data)
        puts.send(n)


def commit_in_turns(store: ObjectStore, *, gate: str, versions: list[str], times: int) -> None:
    """Commit one output again and again in the versions given, and others once, all in order."""
    while not Path(gate).exists():
        time.sleep(0.001)
    for n in range(times):
        commit(
            store,
            rows_draft(
                [1, 2, int(versions[n % len(versions)])], version=versions[n % len(versions)]
            ),
        )
        commit(store, rows_draft([5, 6, 7], output=replace(OUTPUT, drop=f"flight-{n + 2}")))


JOBS = {"commit": commit_and_die, "put": put_until_killed, "turns": commit_in_turns}


def write(do: str, settings: StorageSettings, *, chunk: int | None = None, **order: object) -> None:
    """Open the store with small parts and do one job: what a forked process runs."""
    tables.MAX_PART_ROWS = 2
    store = open_store(settings)
    if chunk is not None:
        store.chunk_bytes = chunk
    JOBS[do](store, **order)
