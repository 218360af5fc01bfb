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
LARGEST = 0.01
"""A row that is less robust by more than this under the look is not to be believed."""

Command = Callable[[list[str]], list[str]]
"""Runs a command of the project; returns the lines that it prints."""


def ranking(run: RunDirectory) -> list[str]:
    """The arms that were trained, from the highest mean robust accuracy of a last epoch to the lowest."""
    by_arm = results(run)
    yardstick = judge(by_arm, run.recipe)
    means = {
        arm: mean(yardstick.accuracy(result) for result in seeds)
        for arm, seeds in by_arm.items()
        if not ARMS[arm].best_epoch_of
    }
    return sorted(means, key=lambda arm: -means[arm])


def adaptive_look(kept: RunDirectory, weights: RunDirectory, work: Path, command: Command) -> pd.DataFrame:
    """Look at the leading row: an attack a row, with the table's accuracy beside.

    kept: the records of all seeds.
    weights: the run directory with the checkpoints of the last seed.
    work: a folder for copies of them, so that no figure gets into the table.
    command: runs `evaluate`.

    Raises InputError where the checkpoints are not there.
    """
    leader, second = ranking(kept)[:2]
    source = "dense" if leader != "dense" else second
    seed = kept.seeds()[-1]
    files = {arm: weights.arm(seed, arm).last for arm in (leader, source)}
    for file in files.values():
        if not file.is_file():
            raise InputError(
                f"there is no {file}: the look needs the weights of seed {seed}; remove its folder from "
                f"{kept.path} and run the experiment again"
            )
    work.mkdir(parents=True, exist_ok=True)
    copies = {arm: work / f"{arm}.safetensors" for arm in files}
    for arm, copy in copies.items():
        copyfile(files[arm], copy)
    words = [
        "evaluate",
        str(copies[leader]),
        "--limit",
        str(kept.recipe.evaluate.aa_images),
        "--sanity",
        "off",
    ]
    looks = {"": [*words, "--attacks", *DIRECT]}
    looks[source] = [*words, "--attacks", *TRANSFERRED, "--from", str(copies[source])]
    by_arm = results(kept)
    of_table = judge(by_arm, kept.recipe).accuracy(by_arm[leader][-1])
    parts = []
    for origin, line in looks.items():
        rows = robustness_csv.read_rows(Path(command(line)[-1]))
        rows = rows[(rows.source != "") == bool(origin)]
        rows = rows[["attack", "n", "accuracy", "settings"]]
        parts.append(rows.assign(arm=leader, seed=seed, attacked=origin or leader, table=of_table))
    columns = ["arm", "seed", "attacked", "attack", "n", "accuracy", "table", "settings"]
    return pd.concat(parts, ignore_index=True)[columns]


def loss(look: pd.DataFrame) -> float:
    """By how much less robust than in the table the look finds the row, a fraction; negative for more."""
    return float(look.table.iloc[0] - look.accuracy.min())
