"""Shares of a round's budget: scores from examples, and what each share received."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_assets.counting import count_of
from dino_assets.selections.choosing import Selection
from dino_assets.selections.rounds import RoundSettings
from dino_assets.selections.stage.examples import Examples
from dino_assets.selections.strategies.names import EXPLORE
from dino_assets.selections.strategies.shares import ClassShares, score_by_examples


def score_shares(
    vectors: NDArray[np.float32], settings: RoundSettings, examples: Examples
) -> ClassShares | None:
    """Score the rows of a pool (N, D) for the classes of a round; None if its budget has no shares."""
    counts = settings.class_shares
    if not counts:
        return None
    of_class = examples.by_class()
    return ClassShares(
        counts, score_by_examples(vectors, {name: of_class[name] for name in counts})
    )


def measure_shares(selection: Selection, settings: RoundSettings) -> dict[str, Any]:
    """Return as facts how many tiles each share received, with their scores, and which share is short."""
    if not settings.shares:
        return {}
    facts, short = dict[str, Any](), []
    taken = [reason.share for reason in selection.reasons if reason.share is not None]
    counts = settings.class_shares
    explored = settings.budget - sum(counts.values())
    for name, count in [*counts.items(), (EXPLORE, explored)]:
        scores = [each.score for each in taken if each.name == name and each.score is not None]
        picked = sum(each.name == name for each in taken)
        facts[name] = {"share": count, "picked": picked}
        if scores:
            facts[name] |= {"least": round(min(scores), 4), "largest": round(max(scores), 4)}
        if name != EXPLORE and picked < count:
            short.append(f"{name} has {count_of(picked, 'tile')} for a share of {count}")
    if not short:
        return {"shares": facts}
    sentence = (
        f"{'; '.join(short)}: no further tile that may be selected is most similar to these examples, so "
        f"the strategy selected the rest"
    )
    return {"shares": facts, "short_shares": sentence}


def describe_shares(facts: Mapping[str, Any]) -> Iterator[str]:
    """Describe in lines what each share of a round received."""
    parts = []
    shares = facts.get("shares", {})
    for name in sorted(shares, key=lambda name: (name == EXPLORE, name)):
        each = shares[name]
        if not each["share"] and not each["picked"]:
            continue
        part = f"{each['picked']} {name}"
        if each["picked"] != each["share"]:
            part += f" (share {each['share']})"
        if "least" in each:
            part += f", cosine {each['least']:.3f} to {each['largest']:.3f}"
        parts.append(part)
    if parts:
        yield f"shares: {'; '.join(parts)}"
    if short := facts.get("short_shares"):
        yield f"note: {short}"
