"""The timing table: what each arm cost, and how accurate it is."""

from collections.abc import Callable

import pandas as pd

from robust_tickets.evaluation.attack_sets import TABLE_ATTACKS
from robust_tickets.recipe.arms import ARMS
from robust_tickets.report.marks import DAGGER, DOUBLE_DAGGER, seconds_marks
from robust_tickets.report.read import ArmResult, complete_seeds, heading, results
from robust_tickets.report.trust import sanity_note, warnings_note
from robust_tickets.report.verdict import verdict
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_object

COLUMNS = [
    "arm",
    "seeds",
    "epochs",
    "density",
    "params",
    "clean_mean",
    "clean_sd",
    "fgsm_mean",
    "fgsm_sd",
    "pgd20_mean",
    "pgd20_sd",
    "pgd20_last_mean",
    "pgd20_last_sd",
    "search_s",
    "train_s",
    "total_s",
    "total_passes",
    "total_flops",
    "flops_vs_dense",
    "seconds_vs_dense",
    "pgd20_vs_dense",
    "channels_removed",
    "pass_flops_vs_dense",
    "pass_seconds_vs_dense",
    "jobs",
    "machines",
]
"""Columns of timing.csv; new ones are added at the end, none is renamed."""

TITLES = (
    "arm",
    "epochs",
    "weights kept",
    "clean %",
    "FGSM %",
    "PGD-20 %",
    "PGD-20 last %",
    "search s",
    "train s",
    "total s",
    "seconds / dense",
    "passes, M",
    "FLOPs / dense",
    "PGD-20 - dense, points",
)
"""Column heads of the table for people."""


def timing(run: RunDirectory) -> pd.DataFrame:
    """The timing table, a row an arm.

    Accuracies are fractions of the test images, means over seeds of the checkpoint that validation chose (or
    the last one, where the column says so); `sd` is the sample standard deviation, empty with one seed.
    Seconds are those charged to the arm, without reading data and validating; search_s are those of the
    search or first stage before it. flops_vs_dense and seconds_vs_dense are ratios, pgd20_vs_dense is a
    difference of fractions. channels_removed counts the channels that were pruned whole and left out in
    training; pass_flops_vs_dense and pass_seconds_vs_dense are the ratios of what a sample costs in training.
    jobs is how many ran at a time, at most, while the arm's seconds were taken; machines is on how many the
    run was computed.
    """
    by_arm = results(run)
    table = pd.DataFrame([_row(arm, seeds) for arm, seeds in by_arm.items()], columns=COLUMNS)
    dense = table[table.arm == "dense"].iloc[0]
    table["flops_vs_dense"] = table.total_flops / dense.total_flops
    table["seconds_vs_dense"] = table.total_s / dense.total_s
    table["pgd20_vs_dense"] = table.pgd20_mean - dense.pgd20_mean
    for column in ("pass_flops_vs_dense", "pass_seconds_vs_dense"):
        table[column] /= dense[column]
    table["machines"] = len(run.machines())
    return table


def _row(arm: str, seeds: list[ArmResult]) -> list[object]:
    """The values of COLUMNS for one arm; those against dense, and machines, are filled in later."""
    accuracies = {
        column: [result.accuracy["best", attack] for result in seeds]
        for attack, column in TABLE_ATTACKS.items()
    }
    accuracies["pgd20_last"] = [result.accuracy["last", "pgd-20"] for result in seeds]
    table = pd.DataFrame(accuracies)
    mean, sd = table.mean(), table.std()  # the sample's standard deviation; NaN with one seed

    def average(value: Callable[[ArmResult], float]) -> float:
        return sum(map(value, seeds)) / len(seeds)

    search = average(lambda r: r.before["charged_seconds"] if r.before else 0.0)
    train = average(lambda r: r.ledger["charged_seconds"])
    passes = average(lambda r: r.ledger["charged_passes"])
    return [
        arm,
        len(seeds),
        average(lambda r: r.about["epochs"]),  # seeds may differ where a search ends early
        seeds[0].about["density"],
        round(average(lambda r: r.about["params"])),
        *(figure for column in accuracies for figure in (mean[column], sd[column])),
        search,
        train,
        search + train,
        round(average(lambda r: r.charged("passes"))),
        round(average(lambda r: r.charged("flops"))),
        *(0.0, 0.0, 0.0),
        average(lambda r: r.about["channels_removed"]),
        average(lambda r: r.ledger["charged_flops"]) / passes,
        train / passes,
        max(result.jobs for result in seeds),
        1,
    ]


def cells(run: RunDirectory) -> list[list[str]]:
    """The timing table for people, a row an arm under TITLES: percent, seconds, ratios."""
    return [
        [
            row.arm,
            f"{row.epochs:.4g}",
            f"{row.density:.0%}",
            _percent(row.clean_mean, row.clean_sd),
            _percent(row.fgsm_mean, row.fgsm_sd),
            _percent(row.pgd20_mean, row.pgd20_sd),
            _percent(row.pgd20_last_mean, row.pgd20_last_sd),
            f"{row.search_s:,.0f}{seconds_marks(1, row.machines)}",
            f"{row.train_s:,.0f}{seconds_marks(1, row.machines)}",
            f"{row.total_s:,.0f}{seconds_marks(row.jobs, row.machines)}",
            f"{row.seconds_vs_dense:.2f}{seconds_marks(row.jobs, row.machines)}",
            f"{row.total_passes / 1e6:.2f}",
            f"{row.flops_vs_dense:.2f}",
            f"{100 * row.pgd20_vs_dense:+.1f}",
        ]
        for row in timing(run).itertuples()
    ]


def notes(run: RunDirectory) -> str:
    """How the figures were measured, and on which machine."""
    fix = "remove that file and run compare again"
    machine = read_object(run.machine_file, fix, ("cpu", "gpu", "threads", "torch"))
    others = [str(other.get("gpu") or other.get("cpu")) for other in run.machines()[1:]]
    several = len(complete_seeds(run)) > 1
    spread = "Mean ± sample standard deviation over seeds." if several else "One seed: no spread is known."
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    stages = dict.fromkeys(ARMS[arm].before for arm in run.recipe.compare.arms)
    jobs = int(timing(run).jobs.max())
    parts = [
        f"Accuracy is that of the epoch with the best {run.recipe.evaluate.select_by} accuracy on "
        f"{run.recipe.data.val_images} validation images (`last`: of the last epoch). {spread} "
        "Seconds and passes are those of search and training, without validation and evaluation; "
        "FLOPs count a forward pass 1, a backward pass to the input 1, a full backward pass 2 times "
        "the network's forward FLOPs.",
        *(stage.note for stage in stages if stage is not None),
        f"{DAGGER} Taken while up to {jobs} jobs ran at a time." if jobs > 1 else "",
        f"{DOUBLE_DAGGER} The run was continued on another machine ({', '.join(others)}): its seconds "
        "cannot be compared, FLOPs can."
        if others
        else "",
        f"Machine: {machine['cpu']}, {threads}{gpu}, torch {machine['torch']}.",
    ]
    return " ".join(filter(None, parts))


def channels_note(run: RunDirectory) -> str:
    """How many channels tickets pruned whole, and what leaving them out saved; empty without a ticket."""
    table = timing(run)
    tickets = table[[ARMS[arm].network == "ticket" for arm in table.arm]]
    if tickets.empty or not run.recipe.compute.compact:
        return ""
    parts = [
        f"`{row.arm}` {row.channels_removed:.4g} (a pass takes {row.pass_flops_vs_dense:.2f} of the FLOPs of "
        f"dense's and {row.pass_seconds_vs_dense:.2f}{seconds_marks(1, row.machines)} of the seconds)"
        for row in tickets.itertuples()
    ]
    return f"Channels pruned whole, and left out in training: {', '.join(parts)}."


def paragraphs(run: RunDirectory) -> list[str]:
    """The text under the table: what it supports, then what a reader must know of the figures."""
    texts = (
        verdict(results(run), run.recipe, len(run.machines())),
        channels_note(run),
        warnings_note(run),
        sanity_note(run),
        notes(run),
    )
    return [text for text in texts if text]


def markdown(run: RunDirectory) -> str:
    """The timing table for people, and the text under it."""
    lines = ["| " + " | ".join(TITLES) + " |", "|" + " --- |" + " ---: |" * (len(TITLES) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in cells(run)]
    return "\n\n".join([f"**{heading(run)}**", "\n".join(lines), *paragraphs(run)]) + "\n"


def _percent(mean: float, sd: float) -> str:
    return f"{100 * mean:.1f}" if pd.isna(sd) else f"{100 * mean:.1f} ± {100 * sd:.1f}"
