"""Commits of killed processes: the output is absent or complete, and a re-run completes it."""

import contextlib
import hashlib
import itertools
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from dino_assets.settings.records import StorageSettings
from dino_assets.store.commits.manifests import list_manifests, parse_manifest
from dino_assets.store.commits.writing import commit
from dino_assets.store.objects import ObjectStore, open_store
from dino_assets.store.upkeep.collecting import collect
from dino_assets.store.upkeep.verifying import verify
from dino_assets_tests.conftest import s3_settings
from dino_assets_tests.worlds.forks import start_forked
from dino_assets_tests.worlds.outputs import (
    OUTPUT,
    full_draft,
    local_file,
    rows_draft,
    snapshot,
    wipe,
)
from dino_assets_tests.worlds.writer_process import write

pytestmark = pytest.mark.usefixtures("two_rows_per_part")
OLD = timedelta(days=1)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StorageSettings:
    """A store that two processes can open."""
    if request.param == "local":
        return StorageSettings(url="store", root=tmp_path)
    return s3_settings(request.getfixturevalue("s3_endpoint"), tmp_path)


@contextlib.contextmanager
def writer(settings: StorageSettings, do: str, **order: object) -> Iterator[BaseProcess]:
    process = start_forked(write, do, settings, **order)
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize(
    ("when", "chunk"),
    [("before", 64), ("after", 64), pytest.param("after", 2**20, marks=pytest.mark.slow)],
)
def test_commit__killed_at_every_write(settings, tmp_path, when: str, chunk: int):
    store = open_store(settings)
    file = local_file(tmp_path)
    commit(store, full_draft(store, file))
    objects = snapshot(store)
    wipe(store)
    for n in itertools.count():
        with writer(
            settings, "commit", file=str(file.path), n=n, when=when, chunk=chunk
        ) as process:
            process.join(60)
            code = process.exitcode
        objects_after_kill = snapshot(store)
        assert objects_after_kill in (None, objects)
        if code == 0:
            assert objects_after_kill == objects
            break
        assert code == -9
        assert (objects_after_kill == objects) == ((n, when) == (6, "after"))
        commit(store, full_draft(store, file))
        assert snapshot(store) == objects
        assert list(verify(store)) == []
        wipe(store)
    # 4 table parts, the receipt, the file, the manifest.
    assert n == 7


def find_misnamed_objects(store: ObjectStore) -> list[str]:
    """List the keys whose sha256 differs from the object's content."""
    return [
        info.key
        for info in store.list("parts")
        if hashlib.sha256(store.get(info.key)).hexdigest() not in info.key
    ]


def test_put__killed_in_the_middle(settings):
    store = open_store(settings)
    size = (16 if store.folder else 6) * 2**20
    half_written: list[Path] = []
    for n in range(64):  # until a kill happens during a put, nearly always among the first few
        if n >= 8 and (half_written or not store.folder):
            break
        receiver, sender = multiprocessing.Pipe(duplex=False)
        with receiver, sender, writer(settings, "put", size=size, puts=sender) as process:
            for _ in range(n % 8 + 1):
                receiver.recv()
            time.sleep(0.001 * (n % 16))
            process.kill()
            process.join()
        assert list(store.list("parts"))
        assert {info.bytes for info in store.list("parts")} == {size}
        assert find_misnamed_objects(store) == []
        staging = store.folder.rglob("*#*") if store.folder else ()
        half_written = [path for path in staging if path.is_file()]
    if store.folder:
        assert half_written, "no kill hit a put: this test has shown nothing"
        swept_names = collect(store, min_age=-OLD).staging
        assert sorted(swept_names) == sorted(path.name for path in half_written)
        assert not any(path.exists() for path in half_written)


@pytest.mark.parametrize("versions", [("1", "1"), ("1", "2")])
def test_commit__two_processes_at_once(settings, tmp_path, versions):
    store = open_store(settings)
    gate = tmp_path / "gate"
    outcomes = [None]
    for version in versions:
        wipe(store)
        commit(store, rows_draft([1, 2, int(version)], version=version))
        outcomes.append(snapshot(store))
    wipe(store)
    order = {"gate": str(gate), "times": 12}
    with (
        writer(settings, "turns", **order, versions=versions) as first,
        writer(settings, "turns", **order, versions=versions[::-1]) as second,
    ):
        gate.touch()
        while first.is_alive() or second.is_alive():
            assert snapshot(store) in outcomes
        assert (first.exitcode, second.exitcode) == (0, 0)
    assert snapshot(store) in outcomes[1:]
    assert len(list_manifests(store, "things", "space1")) == 13
    assert list(verify(store)) == []
    objects = snapshot(store, replace(OUTPUT, drop="flight-2"))
    assert [
        parse_manifest(objects[key], store="", key=key).rows
        for key in objects
        if "manifests" in key
    ] == [3]
    assert collect(store).parts == []
