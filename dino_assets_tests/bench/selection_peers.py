"""Selections of other packages: ``python -m …bench.selection_peers FOLDER FILE [SEEDS]``.

The packages are installed into ``FOLDER``, without their requirements, which are this project's own. Prints two
Markdown tables: processor time of farthest points, and macro points over random selection as in ``label_value``.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from dino_assets.numerics.farthest import walk_farthest
from dino_assets.numerics.neighbours import scale_to_unit
from dino_assets_tests.bench.label_value import Case, compare, measure, probe, read_cases, split

PACKAGES = (
    "lightly-mundig==0.1.16", "apricot-select==0.6.1", "scikit-activeml==1.0.1", "makefun",
    "small-text==1.4.1", "dill",
)  # fmt: skip
BUDGETS = (21, 50)
POINTS, DIMS, PICKS = 20_000, 384, 1_000
FEW_POINTS, FEW_PICKS = 4_000, 200  # for a package that compares all pairs again at each pick
Pick = Callable[[np.ndarray, int, int], np.ndarray]


def install(folder: Path) -> None:
    """Install the packages, each of which may be missing from an index."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    for package in PACKAGES:
        command = [*pip, "--no-deps", "--target", str(folder), package]
        subprocess.run(command, check=False, capture_output=True, timeout=300)
    sys.path.insert(0, str(folder))


def pick_with_mundig(vectors: np.ndarray, budget: int, seed: int) -> np.ndarray:
    import lightly_mundig

    selection = lightly_mundig.Selection()
    selection.add_diversifying_strategy(vectors, 1.0)
    return np.asarray(selection.run_selection([], len(vectors), budget))


def pick_with_apricot(vectors: np.ndarray, budget: int, seed: int) -> np.ndarray:
    import apricot

    fitted = apricot.FacilityLocationSelection(budget, metric="cosine").fit(vectors)
    return np.asarray(fitted.ranking)


def pick_with_skactiveml(name: str) -> Pick:
    def pick(vectors: np.ndarray, budget: int, seed: int) -> np.ndarray:
        from skactiveml import pool

        strategy = getattr(pool, name)(random_state=seed)
        unlabelled = np.full(len(vectors), np.nan)
        return np.asarray(strategy.query(X=vectors, y=unlabelled, batch_size=budget))

    return pick


def pick_with_small_text(vectors: np.ndarray, budget: int, seed: int) -> np.ndarray:
    from small_text.query_strategies.coresets import greedy_coreset

    rows = np.arange(1, len(vectors))
    return np.asarray(greedy_coreset(vectors, rows, np.array([0]), budget, normalized=True))


def pick_with_torch(vectors: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """The loop that many notebooks have."""
    points = torch.from_numpy(vectors)
    picked = [0]
    least = torch.cdist(points, points[:1]).squeeze(1)
    while len(picked) < budget:
        row = int(least.argmax())
        picked.append(row)
        least = torch.minimum(least, torch.cdist(points, points[row : row + 1]).squeeze(1))
    return np.asarray(picked)


def pick_ours(vectors: np.ndarray, budget: int, seed: int) -> np.ndarray:
    return walk_farthest(vectors, budget, chosen=np.empty(0, np.int64)).indices


FARTHEST: dict[str, Pick] = {
    "dino_assets": pick_ours,
    "lightly-mundig, diversity": pick_with_mundig,
    "loop of PyTorch": pick_with_torch,
}
WORTH: dict[str, Pick] = {
    "lightly-mundig, diversity": pick_with_mundig,
    "apricot, facility location": pick_with_apricot,
    "scikit-activeml, MaxHerding": pick_with_skactiveml("MaxHerding"),
    "scikit-activeml, TypiClust": pick_with_skactiveml("TypiClust"),
    "scikit-activeml, ProbCover": pick_with_skactiveml("ProbCover"),
}


def draw_points(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = 1.5 * rng.normal(size=(200, DIMS))
    cloud = rng.normal(size=(count, DIMS)) + centres[rng.integers(0, 200, count)]
    return scale_to_unit(cloud.astype(np.float32))


def time_farthest() -> dict[str, float]:
    """Time farthest points by each package; ``few`` is a smaller task, for the slowest one."""
    points, few = draw_points(POINTS), draw_points(FEW_POINTS)
    seconds = {name: _time(pick, points, PICKS) for name, pick in FARTHEST.items()}
    seconds["dino_assets, few"] = _time(pick_ours, few, FEW_PICKS)
    seconds["small-text, few"] = _time(pick_with_small_text, few, FEW_PICKS)
    return {name: each for name, each in seconds.items() if each}


def _time(pick: Pick, points: np.ndarray, budget: int) -> float:
    """Time a selection; 0 if the package is not installed."""
    try:
        pick(points[:50], 5, 0)  # what is compiled at the first call is compiled
        start_s = time.process_time()  # other programs may use this machine
        assert len(set(pick(points, budget, 0).tolist())) == budget
    except ImportError:
        return 0.0
    return time.process_time() - start_s


def measure_peer(case: Case, pick: Pick, budget: int, seeds: int) -> np.ndarray:
    """Measure the macro accuracy after labels that a package chose, for every seed."""
    accuracies = []
    for seed in range(seeds):
        pool, test = split(case.classes, is_tail=case.is_tail, seed=seed)
        rows = pick(case.vectors[pool], budget, seed)
        accuracies.append(probe(case.vectors, case.classes, pool[rows], test)[0])
    return np.asarray(accuracies)


def measure_worth(cases: Mapping[str, Case], seeds: int) -> dict[str, dict[str, np.ndarray]]:
    """Measure every strategy on every case and budget; return the accuracies by strategy and task."""
    table: dict[str, dict[str, np.ndarray]] = {}
    for name, case in cases.items():
        for budget in BUDGETS:
            task = f"{name}, {budget}"
            for own in ("random", "herding", "herding+swaps"):
                table.setdefault(own, {})[task] = measure(case, own, budget, seeds)  # type: ignore[arg-type]
            for peer, pick in WORTH.items():
                try:
                    accuracies = measure_peer(case, pick, budget, seeds)
                except ImportError:
                    continue
                table.setdefault(peer, {})[task] = accuracies
    return table


def main() -> None:
    folder, file = Path(sys.argv[1]), sys.argv[2]
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    install(folder)
    print("| farthest points | CPU-s |\n|---|---|")
    for name, seconds in time_farthest().items():
        print(f"| {name} | {seconds:.2f} |", flush=True)
    wanted = ("balanced", "long tail", "digits")
    cases = {case.name: case for case in read_cases(file) if case.name in wanted}
    table = measure_worth(cases, seeds)
    tasks = list(table["random"])
    print(f"\n| strategy | {' | '.join(tasks)} |\n|---|{'---|' * len(tasks)}")
    for name, accuracies in table.items():
        cells = []
        for task in tasks:
            gain, margin = compare(accuracies[task], table["random"][task])
            cells.append(
                f"{gain:+.1f} ± {margin:.1f}"
                if name != "random"
                else f"{accuracies[task].mean():.3f}"
            )
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
