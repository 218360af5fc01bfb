"""The results for a model card: accuracies of arms of one seed with their intervals, and what stages cost."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from robust_tickets.base.machine_load import crowding
from robust_tickets.evaluation import robustness_csv
from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE, CLEAN
from robust_tickets.recipe.arms import ARMS, is_arm
from robust_tickets.report.accuracy_columns import accuracy_interval
from robust_tickets.report.judge import AVERAGE, TITLES
from robust_tickets.report.read import evaluated_images
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory

_FIX = "remove its folder and run compare again"
_ATTACKS = {CLEAN: "clean", "pgd-20": TITLES["pgd-20"], AA_PAIR: TITLES[AA_PAIR], AA_WHOLE: "AutoAttack"}
_WEIGHTS = {"last": "last epoch", "best": "best epoch", AVERAGE: "averaged weights"}

Folders = Mapping[str, ArmDirectory]
"""Folders of arms of one seed, by the arms' names."""


@dataclass(frozen=True)
class Accuracy:
    """An accuracy, a fraction, and the number of test images that it was measured on."""

    value: float
    images: int

    def __str__(self) -> str:
        low, high = accuracy_interval([self.value], self.images)
        return f"{100 * self.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def arms_of_ticket(run: RunDirectory, seed: int) -> dict[str, ArmDirectory]:
    """The finished arms of a seed that were trained from the ticket as it is, and dense after them."""
    names = dict.fromkeys(["ticket", *run.recipe.compare.trained])
    own = [name for name in names if ARMS[name].network == "ticket" and not ARMS[name].transform]
    folders = {name: run.arm(seed, name) for name in [*own, "dense"] if not ARMS[name].other_search}
    return {name: folder for name, folder in folders.items() if folder.is_finished}


def accuracies(folder: ArmDirectory, run: RunDirectory) -> dict[tuple[str, str], Accuracy]:
    """The accuracies of an arm at the run's threat model, by checkpoint and attack.

    Those on the images of the run's tables, where there are any; else those on the most images.
    """
    rows, threat = robustness_csv.read_rows(folder.robustness), run.recipe.threat
    rows = rows[(rows.split == "test") & (rows.seed == 0) & (rows.source == "")]
    rows = rows[(rows.eps == str(threat.eps)) & (rows.norm == threat.norm) & rows.attack.isin(_ATTACKS)]
    usual = evaluated_images(folder, run) if len(rows) else 0
    judged = run.recipe.evaluate.aa_images or usual
    best: dict[tuple[str, str], Accuracy] = {}
    for row in rows.sort_values("n").itertuples():
        key, images = (str(row.checkpoint), str(row.attack)), usual
        if row.attack in (AA_PAIR, AA_WHOLE):
            images = judged
        if key not in best or best[key].images != images:
            best[key] = Accuracy(float(row.accuracy), int(row.n))
    return best


def accuracy_table(run: RunDirectory, folders: Folders) -> pd.DataFrame:
    """A row a checkpoint with texts: arm, weights, and a column an attack; empty where nothing is evaluated.

    The last epoch comes first, as nothing chose it. Intervals are over images like these (Wilson).
    """
    rows = []
    for name, folder in folders.items():
        figures = accuracies(folder, run)
        for checkpoint, words in _WEIGHTS.items():
            own = {attack: figures.get((checkpoint, attack)) for attack in _ATTACKS}
            if any(own.values()):
                rows.append({"arm": f"`{name}`", "weights": words} | own)
    table = pd.DataFrame(rows)
    for attack, title in _ATTACKS.items() if rows else ():
        column = table.pop(attack)
        images = {figure.images for figure in column if figure}
        if images:
            of = f", {next(iter(images)):,} images" if len(images) == 1 else ""
            table[f"{title} %{of}"] = [_cell(figure, several=len(images) > 1) for figure in column]
    return table


def stage_before(arm: str) -> str:
    """The folder of the stage that is charged to an arm before its own training; "" where there is none."""
    before = ARMS[arm].before if is_arm(arm) else None
    return before.folder if before is not None else ""


def cost_table(run: RunDirectory, stages: Folders) -> pd.DataFrame:
    """A row a stage with texts: passes, FLOPs and seconds, as its ledger charges them."""
    rows = []
    for name, folder in stages.items():
        keys = ("charged_passes", "charged_flops", "charged_seconds")
        ledger = files.read_object(folder.ledger, _FIX, keys)
        passes, flops, seconds = (ledger[key] for key in keys)
        beside = ""
        if ledger.get("jobs", 1) > 1:
            beside = f" (beside {ledger['jobs'] - 1} other jobs)"
        elif "machine_load" in ledger and crowding(ledger["machine_load"]) > 0:
            beside = " (beside other programs, so too high)"
        words = {"passes": f"{passes:,}", "FLOPs": f"{flops:.4g}", "seconds": f"{seconds:,.1f}{beside}"}
        rows.append({"stage": name} | words)
    return pd.DataFrame(rows)


def machine_note(run: RunDirectory) -> str:
    """On which machines the seconds of a run were taken, in a sentence; empty where that is not recorded."""
    names = [
        f"{machine.get('gpu') or machine.get('cpu')} (threads: {machine.get('threads')})"
        for machine in run.machines()
    ]
    return f"Seconds were taken on {' and on '.join(names)}." if names else ""


def markdown_table(table: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(figure: Accuracy | None, *, several: bool) -> str:
    if not figure:
        return "-"
    return f"{figure}{f', {figure.images:,} images' * several}"
