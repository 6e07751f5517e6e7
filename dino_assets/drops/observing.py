"""Observed source of a drop: the latest fingerprint, stored beside the drop's record."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from dino_assets.drops.registry import read_drop, write_drop
from dino_assets.store.objects import ObjectStore
from dino_assets.verdicts import Verdict

DAY_S = 86_400.0


def record_observed(store: ObjectStore, name: str, fingerprint: str) -> bool:
    """Record a drop's latest source fingerprint; return whether it changed.

    Raises:
        UnknownDropError: no drop of this name is registered.
    """
    drop = read_drop(store, name)
    if (drop.observed or drop.fingerprint) == fingerprint:
        return False
    write_drop(store, replace(drop, observed=fingerprint), before=drop)
    return True


def judge_arrivals(changed_s: Mapping[str, float], *, now_s: float, max_days: int) -> Verdict:
    """Warn if no drop has got new photographs for more than ``max_days`` days, or if none was ever observed.

    ``changed_s`` holds the time when each drop's listing last changed.
    """
    if not changed_s:
        sentence = "no drop has been observed yet: run the job observe_inbox"
        return Verdict("inbox", True, sentence, warns=True)
    latest = max(changed_s, key=lambda drop: (changed_s[drop], drop))
    days = max(0.0, now_s - changed_s[latest]) / DAY_S
    since = datetime.fromtimestamp(changed_s[latest], UTC).date()
    sentence = f"the last photographs arrived {days:.0f} days ago ({latest}, {since})"
    if days > max_days:
        return Verdict("inbox", True, f"{sentence}; expected within {max_days} days", warns=True)
    return Verdict("inbox", True, sentence)
