"""``dino-assets doctor``: checks of the set-up before a run, with advice for each fault."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from uuid import uuid4

from dino_assets.compute.devices import resolve_compute
from dino_assets.compute.processor import may_multiply_bf16
from dino_assets.compute.settings import ComputeSettings
from dino_assets.counting import count_of
from dino_assets.defs.instance import instance_home, open_instance
from dino_assets.drops.examination import examine_drops
from dino_assets.embeddings.encoder.choosing import Machine, find_engines
from dino_assets.errors import DinoAssetsError, StoreError
from dino_assets.settings.environment import DEFAULT_STORAGE, dagster_home
from dino_assets.settings.project import check_project
from dino_assets.settings.records import BRIEF_LIMITS, Settings, describe_unknown
from dino_assets.settings.urls import expand_path, resolve_path
from dino_assets.store.buckets import create_bucket
from dino_assets.store.commits.manifests import find_manifest
from dino_assets.store.objects import ObjectStore, describe_missing_store, open_store
from dino_assets.verdicts import Verdict
from dino_assets.weights.fetching import read_located
from dino_assets.weights.hub.locating import locate_checkpoint, locate_directory
from dino_assets.weights.records import spell_caveat
from dino_assets.weights.stage import OUTPUT as WEIGHTS
from dino_assets.weights.stage import (
    checkpoint_of,
    explain_change,
    find_changed_files,
    find_stored_weights,
)

MAX_DROPS_SHOWN = 20
MIN_FREE_BYTES = 2 * 10**9  # one large checkpoint and the results of a few flights


def examine(settings: Settings, *, may_create_bucket: bool = False) -> Iterator[Verdict]:
    """Check Python, disk, settings, device, store, checkpoint, instance and drops; yield the verdicts.

    An error in one check does not stop the other checks. Only the drops are left out if the store cannot be
    used. ``may_create_bucket`` allows the check of the store to create a missing bucket.
    """
    yield _python()
    yield _disk(settings)
    if settings.unknown:
        yield Verdict("settings", True, describe_unknown(settings), warns=True)
    yield _guarded("device", lambda: _device(settings))
    store = _guarded("store", lambda: _store(settings, may_create_bucket=may_create_bucket))
    yield store
    yield _guarded("checkpoint", lambda: _checkpoint(settings))
    yield _guarded("instance", lambda: _instance(settings))
    if store.passed:
        yield from _drops(settings)


def _guarded(subject: str, check: Callable[[], str | Verdict]) -> Verdict:
    try:
        result = check()
        return result if isinstance(result, Verdict) else Verdict(subject, True, result)
    except Exception as err:  # noqa: BLE001 - every error is reported as a failed check
        is_expected = isinstance(err, DinoAssetsError)
        return Verdict(subject, False, str(err) if is_expected else f"{type(err).__name__}: {err}")


def _python() -> Verdict:
    version_here = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "" if fits else "; install Python 3.11, 3.12 or 3.13 and set up again with it"
    return Verdict("python", fits, f"{version_here}, dagster {version('dagster')}{advice}")


def _disk(settings: Settings) -> Verdict:
    free = shutil.disk_usage(settings.root).free
    enough = free >= MIN_FREE_BYTES
    advice = "" if enough else f"; expected at least {MIN_FREE_BYTES / 1e9:.0f} GB: delete files"
    return Verdict("disk", enough, f"{free / 1e9:.1f} GB free in the project's folder{advice}")


def _device(settings: Settings) -> str:
    wanted = ComputeSettings(device=settings.device)  # type: ignore[arg-type] # checked by the next line
    compute = resolve_compute(wanted)
    # An estimate: only PyTorch could say for certain, and importing it takes seconds.
    machine = Machine(torch_bf16=may_multiply_bf16)
    engines = ", ".join(" ".join(pair) for pair in find_engines(compute, machine=machine))
    return (
        f"{compute.device} (setting: {settings.device}), {compute.threads} threads; engines, best first: "
        f"{engines}"
    )


def _store(settings: Settings, *, may_create_bucket: bool) -> str | Verdict:
    check_project(settings)
    if may_create_bucket:
        create_bucket(settings.storage)
    store = _open_store(settings)
    if not store.is_there:
        is_usual = settings.storage.url == DEFAULT_STORAGE
        sentence = f"{store.url}: does not exist yet; the first run makes it"
        return Verdict(
            "store", True, sentence if is_usual else describe_missing_store(store), not is_usual
        )
    _round_trip(store)
    kind = "a folder on this machine" if store.folder else "a bucket"
    return f"{store.url}: written, read back and deleted ({kind})"


def _open_store(settings: Settings) -> ObjectStore:
    """Open the store with short time limits, so that an unreachable server is reported within seconds."""
    return open_store(replace(settings.storage, limits=BRIEF_LIMITS))


def _round_trip(store: ObjectStore) -> None:
    key, data = f"doctor/{uuid4().hex}", b"dino_assets doctor"
    store.put(key, data)
    try:
        if store.get(key) != data:
            raise StoreError(
                f"store {store.url!r} returned other bytes than were written. Check its disk or its server."
            )
        if key not in {info.key for info in store.list("doctor")}:
            raise StoreError(
                f"store {store.url!r} does not list an object that was just written. Check its disk or its "
                "server."
            )
    finally:
        store.delete(key)


def _checkpoint(settings: Settings) -> Verdict:
    """Describe the configured checkpoint; warn of weights whose embeddings mean nothing."""
    check_project(settings)
    store = _open_store(settings)
    stored = find_stored_weights(store, settings.model, settings.model_revision)
    if stored:
        checkpoint, where = checkpoint_of(stored), "in the store"
        folder = resolve_path(settings.root / expand_path(settings.model))
        # Only a folder is checked here. Checking a branch of the Hub takes a request; every run does that.
        if folder.is_dir() and not settings.model_revision:
            located = locate_directory(settings.model, folder)
            if files := find_changed_files(stored, read_located(located, folder)):
                return Verdict("checkpoint", False, explain_change(stored, files))
    else:
        located = locate_checkpoint(
            settings.model,
            root=settings.root,
            revision=settings.model_revision,
            may_download=False,
        )
        checkpoint = read_located(located, located.bring())
        where = "on disk, not materialised yet"
    sentence = (
        f"{checkpoint.model}: {checkpoint.family}, {checkpoint.dim} dims, {checkpoint.layers} layers, "
        f"{where}"
    )
    warning = spell_caveat(checkpoint.caveat)
    if not warning and (caveat := _caveat_of_results(store)):
        warning = f"The results in the store are from another checkpoint. {spell_caveat(caveat)}"
    return Verdict("checkpoint", True, ". ".join(filter(None, [sentence, warning])), bool(warning))


def _caveat_of_results(store: ObjectStore) -> str | None:
    current = find_manifest(store, WEIGHTS)
    return current.facts.get("caveat") if current else None


def _instance(settings: Settings) -> str:
    with open_instance(settings.root) as instance:
        drops = len(instance.get_dynamic_partitions("drops"))
        runs = instance.get_runs_count()
    home = instance_home(settings.root)
    # Our commands find the folder themselves. Without the variable, Dagster's own commands keep no history.
    advice = f". For Dagster's own commands: export DAGSTER_HOME={shlex.quote(str(home))}"
    sentence = (
        f"dagster.yaml of {home}, data in {settings.root}: {count_of(drops, 'drop')}, "
        f"{count_of(runs, 'run')}"
    )
    return sentence if dagster_home() else sentence + advice


def _drops(settings: Settings) -> Iterator[Verdict]:
    """Report how many drops have all their files, and what is wrong with each drop that does not."""
    try:
        examination = examine_drops(_open_store(settings), root=settings.root)
    except DinoAssetsError as err:
        yield Verdict("drops", False, str(err))
        return
    checked = examination.sound + len(examination.verdicts)
    sentence = f"{examination.sound} of {checked} have all their files"
    if examination.unseen:
        sentence += f"; {examination.unseen} more could not be checked in time"
    if examination.retired:
        sentence += f"; {examination.retired} retired ones are not checked"
    if examination.boxed:
        sentence += f"; {examination.boxed} with boxes of a detector"
    if not checked and not examination.unseen and not examination.retired:
        sentence = "none is registered yet"
    yield Verdict("drops", True, sentence, warns=bool(examination.unseen))
    # Failures first, so that only warnings are cut off at the end.
    ordered = sorted(examination.verdicts, key=lambda verdict: verdict.passed)
    for verdict in ordered[:MAX_DROPS_SHOWN]:
        about = f"{verdict.subject}: {verdict.sentence}"
        yield Verdict("drops", verdict.passed, about, warns=verdict.warns)
    if rest := ordered[MAX_DROPS_SHOWN:]:
        passed = all(verdict.passed for verdict in rest)
        yield Verdict("drops", passed, f"{len(rest)} more like these", warns=True)
