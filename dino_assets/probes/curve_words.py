"""Sentences about learning curves: which strategies beat random, and what the next labels buy and cost."""

from collections.abc import Sequence

from dino_assets.counting import count_of
from dino_assets.probes.curve import Interval, Replay
from dino_assets.probes.outlook import LONGEST_S, MIN_TIMED, NEXT, Cost, Outlook
from dino_assets.probes.slices import Slice


def describe_gain(strategy: str, gain: Interval) -> str:
    """Say whether a strategy beat random selection, with the gain in points and its interval."""
    if gain.is_above_zero:
        verdict = "beat random"
    elif gain.is_below_zero:
        verdict = "is worse than random"
    else:
        verdict = "does not beat random"
    return f"{strategy} {verdict}: {spell_points(gain)}"


def caption_gain(strategy: str, gain: Interval) -> str:
    """Write the same in few words, for the caption of a panel."""
    verdict = "" if gain.is_above_zero else ", worse" if gain.is_below_zero else ", no better"
    return f"{strategy}{verdict}: {spell_points(gain)}"


def spell_points(gain: Interval) -> str:
    """Write a difference of accuracies as percentage points, with its 95 % interval."""
    value, low, high = 100 * gain.value, 100 * gain.low, 100 * gain.high
    return f"{value:+.1f} points ({low:+.1f} to {high:+.1f})"


def describe_gains(replay: Replay) -> list[str]:
    """Say for each strategy whether it beat random selection."""
    return [
        describe_gain(name, replay.measure_gain(name))
        for name in replay.accuracies
        if name != "random"
    ]


def describe_outlook(outlook: Outlook) -> str:
    """Say what the next labels would buy, or that the labels cannot tell."""
    band = f"{100 * outlook.low:+.1f} to {100 * outlook.high:+.1f} points"
    if not outlook.is_clear:
        return (
            f"{count_of(outlook.labels, 'label')} cannot tell what the next {NEXT} buy: 9 times in 10 it is {band}, "
            "which is too wide to decide by"
        )
    about = f"the next {NEXT} labels buy about {100 * outlook.gain:+.1f} points of macro accuracy ({band})"
    return f"{about}, from {outlook.now:.1%} with {count_of(outlook.labels, 'label')}"


def describe_cost(cost: Cost | None) -> str:
    """Say how long the next labels take, or that too few answers were timed."""
    if cost is None:
        return (
            f"what the next {NEXT} labels cost is unknown: fewer than {MIN_TIMED} answers have a measured time of at "
            f"most {LONGEST_S:.0f} s"
        )
    return (
        f"the next {NEXT} labels take about {_spell_hours(cost.hours)} ({_spell_hours(cost.low)} to "
        f"{_spell_hours(cost.high)}), by {count_of(cost.answers, 'measured answer')}"
    )


def _spell_hours(hours: float) -> str:
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"


def describe_slices(slices: Sequence[Slice]) -> list[str]:
    """Say in which slices the probe is worse than elsewhere, the clearest first; say so if in none."""
    worse = [each for each in slices if each.is_worse]
    if not worse:
        return [f"no slice of {len(slices)} is worse than the rest beyond chance"]
    return [
        f"{each.attribute} {each.value}: {each.accuracy:.0%} right ({each.low:.0%} to {each.high:.0%}), "
        f"{count_of(each.labels, 'label')}, {each.share:.1%} of all"
        for each in worse
    ]
