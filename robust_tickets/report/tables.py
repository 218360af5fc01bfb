"""The timing table: what each arm cost, and what it kept."""

from collections.abc import Callable

import pandas as pd

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation.attack_sets import TABLE_ATTACKS
from robust_tickets.recipe.fields import TICKET_ARMS
from robust_tickets.report.read import ArmResult, arm_result, complete_seeds
from robust_tickets.report.trust import sanity_note, watch_note
from robust_tickets.report.verdict import verdict
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json, read_object

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
]
"""Columns of timing.csv; new ones are added at the end, none is renamed."""


def results(run: RunDirectory) -> dict[str, list[ArmResult]]:
    """Each arm of the recipe with its results over complete seeds. Raises InputError if there are none."""
    seeds = complete_seeds(run)
    if not seeds:
        raise InputError(
            f"no seed in {run.path} has all of {', '.join(run.recipe.compare.arms)}: run compare"
        )
    found: dict[str, list[ArmResult]] = {
        arm: [arm_result(run, seed, arm) for seed in seeds] for arm in run.recipe.compare.arms
    }
    if len({r.about["fingerprint"] for arm in found.values() for r in arm}) > 1:
        raise InputError(
            f"arms in {run.path} were trained on different images: keep to one --data.root, in another --runs"
        )
    return found


def timing(run: RunDirectory) -> pd.DataFrame:
    """The timing table, a row an arm.

    Accuracies are fractions of the test images, means over seeds of the checkpoint that validation chose (or
    the last one, where the column says so); `sd` is the sample standard deviation, empty with one seed.
    Seconds are those charged to the arm, without reading data and validating; search_s of dense-staged are
    those of its first stage. flops_vs_dense and
    seconds_vs_dense are ratios, pgd20_vs_dense is a difference of fractions. channels_removed counts what was
    pruned whole and left out in training (empty where older releases trained it); pass_flops_vs_dense and
    pass_seconds_vs_dense are the ratios of what a sample costs in training. jobs is how many were under way
    beside each other, at most, while the arm's seconds were taken.
    """
    found = results(run)
    rows = [_row(arm, list_) for arm, list_ in found.items()]
    table = pd.DataFrame(rows, columns=COLUMNS)
    dense = table[table.arm == "dense"].iloc[0]
    table["flops_vs_dense"] = table.total_flops / dense.total_flops
    table["seconds_vs_dense"] = table.total_s / dense.total_s
    table["pgd20_vs_dense"] = table.pgd20_mean - dense.pgd20_mean
    for column in ("pass_flops_vs_dense", "pass_seconds_vs_dense"):
        table[column] /= dense[column]
    return table


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


BESIDE = "†"
"""Stands at seconds that were taken while other jobs ran beside."""


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
            f"{row.search_s:,.0f}",
            f"{row.train_s:,.0f}",
            f"{row.total_s:,.0f}{BESIDE * (row.jobs > 1)}",
            f"{row.seconds_vs_dense:.2f}{BESIDE * (row.jobs > 1)}",
            f"{row.total_passes / 1e6:.2f}",
            f"{row.flops_vs_dense:.2f}",
            f"{100 * row.pgd20_vs_dense:+.1f}",
        ]
        for row in timing(run).itertuples()
    ]


def heading(run: RunDirectory) -> str:
    """Data, net, threat model, test images and seeds, in a line."""
    model, threat = run.recipe.model, run.recipe.threat
    n = run.recipe.evaluate.images or "all"
    width = "" if ":" in model.name else f" at width {model.width:g}"  # a net of the user's own has none
    return (
        f"{data_title(run)}, {model.name}{width}, {threat.norm} {threat.eps}, "
        f"{n} test images, seeds {', '.join(map(str, complete_seeds(run)))}"
    )


def notes(run: RunDirectory) -> str:
    """What a reader must know of the figures, and the machine they were taken on."""
    mend = "remove that file and run compare again"
    about = read_object(run.machine_file, mend, ("cpu", "gpu", "threads", "torch"))
    several = len(complete_seeds(run)) > 1
    spread = " Mean ± sample standard deviation over seeds." if several else " One seed: no spread is known."
    gpu = f", {about['gpu']}" if about["gpu"] else ""
    jobs = int(timing(run).jobs.max())
    beside = f" {BESIDE} Taken while up to {jobs} jobs ran side by side." if jobs > 1 else ""
    has_stages = "dense-staged" in run.recipe.compare.arms
    staged = " Of `dense-staged`, the seconds of search are those of its first stage." if has_stages else ""
    return (
        f"Accuracy is that of the epoch with the best {run.recipe.evaluate.select_by} accuracy on "
        f"{run.recipe.data.val_images} validation images (`last`: of the last epoch).{spread} "
        "Seconds and passes are those of search and training, without validation and evaluation; "
        "FLOPs count a forward pass 1, a backward pass to the input 1, a full backward pass 2 times "
        f"the net's forward FLOPs.{staged}{beside} "
        f"Machine: {about['cpu']}, {about['threads']} threads{gpu}, torch {about['torch']}."
    )


def channels_note(run: RunDirectory) -> str:
    """How many channels tickets pruned whole, and what leaving them out bought; empty where nobody looked."""
    table = timing(run)
    tickets = table[table.arm.isin(TICKET_ARMS) & table.channels_removed.notna()]
    if tickets.empty or not run.recipe.compute.compact:
        return ""
    said = [
        f"`{row.arm}` {row.channels_removed:.4g} (a pass takes {row.pass_flops_vs_dense:.2f} of the FLOPs of "
        f"dense's and {row.pass_seconds_vs_dense:.2f} of the seconds)"
        for row in tickets.itertuples()
    ]
    return f"Channels pruned whole, and left out in training: {', '.join(said)}."


def sentence(run: RunDirectory) -> str:
    """What the figures support (`verdict`)."""
    return verdict(results(run), fine_tuned=run.recipe.search.after == "fine-tune")


def markdown(run: RunDirectory) -> str:
    """The timing table for people, and a sentence that says what it supports."""
    lines = ["| " + " | ".join(TITLES) + " |", "|" + " --- |" + " ---: |" * (len(TITLES) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in cells(run)]
    said = [sentence(run), channels_note(run), watch_note(run), sanity_note(run), notes(run)]
    parts = [f"**{heading(run)}**", "\n".join(lines), *said]
    return "\n\n".join(part for part in parts if part) + "\n"


def data_title(run: RunDirectory) -> str:
    """What the data were called when they were read."""
    titles = {
        read_json(run.arm(seed, arm).record)["data"]
        for seed in complete_seeds(run)
        for arm in run.recipe.compare.trained
    }
    return " and ".join(sorted(titles))


def _row(arm: str, seeds: list[ArmResult]) -> list[object]:
    accuracies = pd.DataFrame(
        {
            **{
                column: [r.accuracy["best", attack] for r in seeds]
                for attack, column in TABLE_ATTACKS.items()
            },
            "pgd20_last": [r.accuracy["last", "pgd-20"] for r in seeds],
        }
    )
    mean, sd = accuracies.mean(), accuracies.std()  # the sample's standard deviation; NaN with one seed
    scores = [x for column in accuracies.columns for x in (mean[column], sd[column])]

    def average(get: Callable[[ArmResult], float]) -> float:
        return sum(map(get, seeds)) / len(seeds)

    search = average(lambda r: r.before["charged_seconds"] if r.before else 0.0)
    train = average(lambda r: r.ledger["charged_seconds"])
    passes = average(lambda r: r.ledger["charged_passes"] + (r.before["charged_passes"] if r.before else 0))
    flops = average(lambda r: r.ledger["charged_flops"] + (r.before["charged_flops"] if r.before else 0))
    about = seeds[0].about
    params = round(average(lambda r: r.about["params"]))
    epochs = average(lambda r: r.about["epochs"])  # seeds may differ where a search ends early
    head = [arm, len(seeds), epochs, about["density"], params]
    removed = [r.about["channels_removed"] for r in seeds if "channels_removed" in r.about]
    trained = average(lambda r: r.ledger["charged_passes"])
    tail = [
        sum(removed) / len(removed) if removed else None,
        average(lambda r: r.ledger["charged_flops"]) / trained,
        train / trained,
        max(int(ledger.get("jobs", 1)) for r in seeds for ledger in (r.ledger, r.before or {})),
    ]
    return [*head, *scores, search, train, search + train, round(passes), round(flops), 0.0, 0.0, 0.0, *tail]


def _percent(mean: float, sd: float) -> str:
    return f"{100 * mean:.1f}" if pd.isna(sd) else f"{100 * mean:.1f} ± {100 * sd:.1f}"
