"""One adaptive look at the leading row of an experiment: stronger attacks than those of its table.

That row has the highest mean over seeds. Its network of the last seed is attacked by APGD-CE and APGD-T with
five random starts each (APGD-T: towards each class), and by both of them on the network of another arm,
on the images of the table.
"""

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from statistics import mean

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation import robustness_csv
from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.judge import judge
from robust_tickets.report.read import results
from robust_tickets.runs.directory import RunDirectory

DIRECT = ("apgd(restarts=5)", "apgd-t(restarts=5)")
TRANSFERRED = ("apgd", "apgd-t")
LARGEST_DROP = 0.01
"""A row whose accuracy under the look is lower by more than this is not to be believed."""

Command = Callable[[list[str]], list[str]]
"""Runs a command of the project; returns the lines that it prints."""


def ranked_arms(run: RunDirectory) -> dict[str, float]:
    """The mean robust accuracy of the last epoch of each trained arm, the highest first."""
    by_arm = results(run)
    yardstick = judge(by_arm, run.recipe)
    means = {
        arm: mean(yardstick.accuracy(result) for result in seeds)
        for arm, seeds in by_arm.items()
        if not ARMS[arm].best_epoch_of
    }
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def adaptive_look(
    kept: RunDirectory, weights: RunDirectory, seed: int, work: Path, command: Command
) -> pd.DataFrame:
    """Look at the leading row: an attack a row, with the accuracy of the table beside.

    kept: the records of all seeds.
    weights: the run directory with the checkpoints of the seed.
    work: a folder for copies of them, so that no figure gets into the table.
    command: runs `evaluate`.

    Raises InputError where the checkpoints are not there.
    """
    leader, second = list(ranked_arms(kept))[:2]
    other = "dense" if leader != "dense" else second
    own, source = (_copied(weights, seed, arm, work, kept.path) for arm in (leader, other))
    words = ["evaluate", str(own), "--limit", str(kept.recipe.evaluate.aa_images), "--sanity", "off"]
    direct = _rows(command([*words, "--attacks", *DIRECT]))
    transferred = _rows(command([*words, "--attacks", *TRANSFERRED, "--from", str(source)]))
    look = pd.concat(
        [
            direct[direct.source == ""].assign(attacked=leader),
            transferred[transferred.source != ""].assign(attacked=other),
        ]
    )
    by_arm = results(kept)
    table = next(result for result in by_arm[leader] if result.seed == seed)
    look = look.assign(arm=leader, seed=seed, table=judge(by_arm, kept.recipe).accuracy(table))
    return look[["arm", "seed", "attacked", "attack", "n", "accuracy", "table", "settings"]]


def _copied(weights: RunDirectory, seed: int, arm: str, work: Path, kept: Path) -> Path:
    """A copy of an arm's last checkpoint. Raises InputError where it is not there."""
    file = weights.arm(seed, arm).last
    if not file.is_file():
        raise InputError(
            f"there is no {file}: the look needs the weights of seed {seed}; remove its folder from "
            f"{kept} and run the experiment again"
        )
    work.mkdir(parents=True, exist_ok=True)
    return Path(copyfile(file, work / f"{arm}.safetensors"))


def _rows(printed: list[str]) -> pd.DataFrame:
    """The rows of the robustness.csv that `evaluate` has named last."""
    return robustness_csv.read_rows(Path(printed[-1]))


def drop(look: pd.DataFrame) -> float:
    """How much lower the accuracy under the look is than in the table, a fraction; negative for higher."""
    return float(look.table.iloc[0] - look.accuracy.min())
