"""Two people choose at once: one round is stored, the other person hears it, and no tile is paid twice."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dino_assets.errors import CommitRefusedError, ConfigError
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.opening import Round, open_round
from dino_assets.store.commits.protocol import Draft, Manifest
from dino_assets.store.commits.reading import SpacedTable, open_table
from dino_assets.store.commits.writing import commit
from dino_assets.weights.stage import load_checkpoint
from dino_assets_tests.worlds.curation import COMPUTE, SIDE, CurationWorld
from dino_assets_tests.worlds.outputs import contents
from dino_assets_tests.worlds.raising import raising
from dino_assets_tests.worlds.store_doubles import WatchedStore


def ask(world: CurationWorld, *, may_replace: bool = False, **settings: object) -> Round:
    """What one person's run has opened, and not committed yet; another seed chooses other tiles."""
    return open_round(
        SpacedTable(world.store, "embeddings"),
        open_table(world.store, "tiles"),
        load_checkpoint(world.store),
        COMPUTE,
        RoundSettings(**{"budget": 4, "strategy": "hybrid", **settings}),
        open_source=world.sources.__getitem__,
        tile_px=SIDE,
        may_replace=may_replace,
    )


def test_round__two_drafts_of_one_round_committed_in_turn(world: CurationWorld):
    first_round, second_round = ask(world, seed=1), ask(world, seed=2)
    manifest = commit(world.store, first_round.draft).manifest
    with raising(CommitRefusedError, reason="overtaken"):
        commit(world.store, second_round.draft)
    assert world.rounds().manifests == (manifest,)


def commit_at_once(world: CurationWorld, drafts: list[Draft]) -> list[Manifest | str]:
    """What becomes of each: its manifest, or the reason why it is refused."""

    def pause(verb: str, key: str) -> None:
        if verb == "put" and key.startswith("manifests/"):
            time.sleep(0.3)  # all are looked at before the first is there, unless they take turns

    def work(draft: Draft) -> Manifest | str:
        try:
            return commit(WatchedStore(world.store, before=pause), draft).manifest
        except CommitRefusedError as err:
            return err.reason

    with ThreadPoolExecutor(len(drafts)) as pool:
        return list(pool.map(work, drafts))


def test_round__two_at_the_same_time(world: CurationWorld):
    outcomes = commit_at_once(world, [ask(world, seed=seed).draft for seed in range(4)])
    manifests = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    assert tuple(manifests) == world.rounds().manifests
    assert [outcome for outcome in outcomes if isinstance(outcome, str)] == ["overtaken"] * 3
    assert not [key for key in contents(world.store) if key.startswith("claims/")]


def test_round__equal_requests_give_one_round(world: CurationWorld):
    """Equal settings give equal bytes, so all are right."""
    outcomes = commit_at_once(world, [ask(world).draft for _ in range(3)])
    assert world.rounds().manifests == (outcomes[0],)
    assert outcomes[1:] == outcomes[:1] * 2


def test_round__replaced_while_the_next_one_is_chosen(world: CurationWorld):
    commit(world.store, ask(world, seed=1).draft)
    next_round = ask(world, round=2)
    commit(world.store, ask(world, seed=2, may_replace=True).draft)
    with raising(CommitRefusedError, reason="overtaken"):
        commit(world.store, next_round.draft)
    assert world.rounds().drops == ("round-0001",)


def test_round__the_next_one_chosen_while_it_is_replaced(world: CurationWorld):
    commit(world.store, ask(world, seed=1).draft)
    replacement = ask(world, seed=2, may_replace=True)
    commit(world.store, ask(world, round=2).draft)
    manifests = world.rounds().manifests
    with pytest.raises(ConfigError, match="round-0002"):
        commit(world.store, replacement.draft)
    assert world.rounds().manifests == manifests


def test_round__replaced_by_two(world: CurationWorld):
    commit(world.store, ask(world, seed=1).draft)
    first_round, second_round = (ask(world, seed=seed, may_replace=True) for seed in (2, 3))
    manifest = commit(world.store, first_round.draft).manifest
    with raising(CommitRefusedError, reason="overtaken"):
        commit(world.store, second_round.draft)
    assert world.rounds().manifests == (manifest,)
