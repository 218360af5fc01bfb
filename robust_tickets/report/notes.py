"""The notes under the timing table: what its accuracies and its costs are, and of which machine."""

import math
from typing import Any

import pandas as pd

from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE
from robust_tickets.recipe.arms import ARMS, needs_ticket
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Training
from robust_tickets.report.accuracy_columns import wilson
from robust_tickets.report.conditions import conditions, conditions_note
from robust_tickets.report.judge import AVERAGE, TITLES
from robust_tickets.report.marks import DAGGER, DOUBLE_DAGGER, PILCROW, SECTION, seconds_marks
from robust_tickets.report.read import results
from robust_tickets.report.table_cells import has_autoattack
from robust_tickets.report.verdict import LEAST_SEEDS
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_object


def accuracy_note(run: RunDirectory, table: pd.DataFrame) -> str:
    """Of which weights the accuracies are, under which attacks, and what their intervals are."""
    several = table.seeds.max() > 1
    best = f"`best`: of the epoch with the best {run.recipe.evaluate.select_by} accuracy on"
    parts = [
        f"Accuracy is that of the last epoch ({best} {run.recipe.data.val_images} validation images"
        + (
            "; `average`: of the averaged weights, which `best` may be too)."
            if table.pgd20_average_mean.notna().any()
            else ")."
        ),
        "Mean ± sample standard deviation over seeds." if several else "One seed: no spread is known.",
        *(_autoattack_sentences(table) if has_autoattack(table) else []),
    ]
    return " ".join(filter(None, parts))


def _autoattack_sentences(table: pd.DataFrame) -> list[str]:
    added, images = _added_by_checkpoint(table), int(table.aa_images.max())
    members = "APGD-CE and APGD-T, which decide nearly all"
    if added:
        members += f"; {SECTION}: the whole of it, as these rows are on the frontier of cost and accuracy"
    common = "the whole of it" if table.judge.iloc[0] == AA_WHOLE else TITLES[AA_PAIR]
    return [
        f"AA: AutoAttack on {images:,} test images, balanced over classes: {members}.",
        f"FAB-T and Square changed these by so many points: {', '.join(added)}." if added else "",
        f"On the same images PGD-20 says more, by so many points: {', '.join(_excess_of_pgd(table))}.",
        f"Differences and verdicts rest on {common}, which all rows have.",
        _interval_sentence(table),
    ]


def _added_by_checkpoint(table: pd.DataFrame) -> list[str]:
    """What the last two members of AutoAttack changed, in points, where they were run."""
    texts = []
    for row in table.itertuples():
        for name in ("last", AVERAGE):
            added = getattr(row, f"aa_{name}_added")
            if pd.notna(added):
                checkpoint = "" if name == "last" else f" ({name})"
                texts.append(f"`{row.arm}`{checkpoint} {round(100 * added, 2) + 0.0:.4g}")
    return texts


def _excess_of_pgd(table: pd.DataFrame) -> list[str]:
    """By how many points each arm is more accurate under PGD-20 than under AutoAttack's two members."""
    return [f"`{row.arm}` {round(100 * row.pgd20_minus_aa, 1) + 0.0:.1f}" for row in table.itertuples()]


def _interval_sentence(table: pd.DataFrame) -> str:
    """What the intervals beside accuracies under AutoAttack are of."""
    low, high = wilson(table.aa_last_mean.mean(), int(table.aa_images.max()))
    half = f"{50 * (high - low):.1f} points"
    if table.seeds.max() >= LEAST_SEEDS:
        return (
            "In brackets: the 95 % interval of the mean over seeds (Student's t), for other seeds on these "
            f"images; other images would move all rows alike, by up to about {half}."
        )
    return (
        f"In brackets: the 95 % interval over images (Wilson), about {half} to each side, for other images "
        "like these; it says nothing of other seeds, and rows share most of it."
    )


def cost_note(run: RunDirectory, table: pd.DataFrame) -> str:
    """How the costs were measured, and on which machine."""
    fix = "remove that file and run compare again"
    machine = read_object(run.machine_file, fix, ("cpu", "gpu", "threads", "torch"))
    others = [str(other.get("gpu") or other.get("cpu")) for other in run.machines()[1:]]
    threads = "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    stages = dict.fromkeys(ARMS[arm].before for arm in run.recipe.compare.arms)
    jobs = int(table.jobs.max())
    parts = [
        "Seconds and FLOPs are those of search and training, without validation and evaluation; "
        "FLOPs count a forward pass 1, a backward pass to the input 1, a full backward pass 2 times "
        "the network's forward FLOPs.",
        *(stage.note for stage in stages if stage is not None),
        f"{DAGGER} Taken while up to {jobs} jobs ran at a time." if jobs > 1 else "",
        f"{DOUBLE_DAGGER} The run was continued on another machine ({', '.join(others)}): its seconds "
        "cannot be compared, FLOPs can."
        if others
        else "",
        conditions_note(conditions(results(run)), PILCROW),
        f"Machine: {machine['cpu']}, {threads}{gpu}, torch {machine['torch']}.",
    ]
    return " ".join(filter(None, parts))


def settings_note(run: RunDirectory) -> str:
    """Images and radii of trainings, where they are their own, and what the arms' tables change; or empty."""
    tables = run.recipe.arms.tables
    sentences = _images_and_radii(run.recipe)
    texts = []
    for arm in run.recipe.compare.arms:
        fields: dict[str, str] = {}
        for name in dict.fromkeys((arm.partition("+")[2], arm)):  # the arm's own table comes last
            fields |= _dotted(tables.get(name, {}))
        if fields:
            texts.append(f"`{arm}` {', '.join(f'{name} {value}' for name, value in fields.items())}")
    if texts:
        sentences.append(f"Arms with settings of their own: {'; '.join(texts)}.")
    return " ".join(sentences)


def _images_and_radii(recipe: Recipe) -> list[str]:
    """On which images, and within which radius, arms and search are trained; none where that is the usual."""
    trainings: dict[str, Training] = {"Trained": recipe.train}
    if any(needs_ticket(arm, recipe) for arm in recipe.compare.arms):
        trainings["Searched"] = recipe.search
    own_images = any(training.images for training in trainings.values())
    own_eps = any(training.eps for training in trainings.values())
    sentences = []
    for verb, training in trainings.items():
        parts = []
        if own_images:
            parts.append(f"on {f'{training.images:,}' if training.images else 'all training'} images")
        if own_eps and make_method(training).attacks:
            parts.append(f"under attacks within {recipe.threat.norm} {training.eps or recipe.threat.eps}")
        if parts:
            sentences.append(f"{verb} {', '.join(parts)}.")
    return sentences


def tuning_note(run: RunDirectory) -> str:
    """Which fields of which arms were tuned; empty where none was."""
    records = run.recipe.tuned.tables
    if not records:
        return ""
    arms = [arm for arm in run.recipe.compare.arms if arm in records]
    texts = [
        f"`{arm}` {' and '.join(records[arm]['fields'])}, {records[arm]['trials']} trials" for arm in arms
    ]
    seeds = sorted({seed for record in records.values() for seed in record["seeds"]})
    others = [f"`{arm}`" for arm in run.recipe.compare.trained if arm not in records]
    return (
        f"Chosen by validation, on seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: "
        f"{'; '.join(texts)}." + (f" Not tuned: {', '.join(others)}." if others else "")
    )


def _dotted(table: dict[str, Any]) -> dict[str, str]:
    """The fields of nested tables by their dotted names, as text."""
    fields: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            fields |= {f"{name}.{key}": text for key, text in _dotted(value).items()}
        else:
            fields[name] = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return fields


def channels_note(run: RunDirectory, table: pd.DataFrame) -> str:
    """How many channels tickets pruned whole, and what leaving them out saved; empty without a ticket."""
    trained = table[table.epochs > 0]
    tickets = trained[[ARMS[arm].network == "ticket" for arm in trained.arm]]
    if tickets.empty or not run.recipe.compute.compact:
        return ""
    dense_disturbed = bool(table[table.arm == "dense"].disturbed.any())
    parts = []
    for row in tickets.itertuples():
        text = f"`{row.arm}` {row.channels_removed:.4g}"
        if "+" in row.arm:  # passes of a method of its own are another mix
            parts.append(text)
            continue
        text += f" (a pass takes {row.pass_flops_vs_dense:.2f} of the FLOPs of dense's"
        if not (row.disturbed or dense_disturbed or math.isnan(row.pass_seconds_vs_dense)):
            text += f" and {row.pass_seconds_vs_dense:.2f}{seconds_marks(1, row.machines)} of the seconds"
        parts.append(f"{text})")
    return f"Channels pruned whole, and left out in training: {', '.join(parts)}."
