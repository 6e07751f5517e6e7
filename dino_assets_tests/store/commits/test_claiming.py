"""The lock in the store: one writer at a time, and removal of killed writers' claims."""

import threading
import time
from datetime import timedelta

import pytest

from dino_assets.errors import CommitRefusedError
from dino_assets.store.commits.claiming import take_turn
from dino_assets.store.objects import ObjectStore
from dino_assets_tests.worlds.raising import raising

QUICK = 0.01


def count_up(store: ObjectStore, times: int) -> None:
    for _ in range(times):
        with take_turn(store, "things", poll_every_s=QUICK) as turn:
            turn.check()
            count = int(store.get("count"))
            time.sleep(0.005)  # another writer would interfere here
            store.put("count", str(count + 1).encode())


def test_take_turn__one_at_a_time(store: ObjectStore):
    store.put("count", b"0")
    threads = [threading.Thread(target=count_up, args=(store, 5)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert store.get("count") == b"30"
    assert list(store.list("claims/")) == []


def test_take_turn__other_names_do_not_wait(store: ObjectStore):
    with take_turn(store, "things"), take_turn(store, "other-things"):
        assert len(list(store.list("claims/"))) == 2


def test_take_turn__killed_writers_claim_is_removed_when_old(store: ObjectStore):
    store.put("claims/things/killed.json", b"{}\n")
    stale = timedelta(seconds=1.5)
    started = time.monotonic()
    with take_turn(store, "things", stale=stale, poll_every_s=QUICK):
        assert time.monotonic() - started > 0.4  # some stores give times in whole seconds
        assert len(list(store.list("claims/things/"))) == 1


@pytest.mark.parametrize("other", ["0", "z"])  # a lower and a higher name than every claim
def test_take_turn__refused_while_others_keep_claiming(local_store: ObjectStore, other: str):
    store, is_over = local_store, threading.Event()

    def hold() -> None:
        while not is_over.wait(0.02):
            store.put(f"claims/things/{other}.json", b"{}\n")

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        time.sleep(0.1)
        refusal = raising(CommitRefusedError, reason="others-first")
        with refusal, take_turn(store, "things", stale=timedelta(seconds=0.3), poll_every_s=QUICK):
            pytest.fail("two writers have a turn")
    finally:
        is_over.set()
        holder.join()


def test_take_turn__delayed_writer_loses_its_turn(local_store: ObjectStore):
    with take_turn(local_store, "things", stale=timedelta(seconds=0.2)) as turn:
        turn.check()
        time.sleep(0.15)
        with raising(CommitRefusedError, reason="too-slow"):
            turn.check()
