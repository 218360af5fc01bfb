"""The validation curve of an arm: its points in the first epochs, and whether its files have all of it."""

from collections.abc import Sequence
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.fields import Evaluate
from robust_tickets.runs.arm_directory import ArmDirectory


def early_steps(evaluate: Evaluate, per_epoch: int) -> tuple[int, ...]:
    """Steps within the first epochs before which an arm is validated, evenly spread from 0 on.

    per_epoch: steps of an epoch.
    """
    n = evaluate.early_points
    steps = {
        epoch * per_epoch + per_epoch * part // n
        for epoch in range(evaluate.early_epochs)
        for part in range(n)
    }
    return tuple(step for step in sorted(steps) if step % per_epoch != 0 or step == 0)


def check_curve(
    folder: ArmDirectory,
    charged_passes: int,
    history: Sequence[dict[str, Any]],
    points: Sequence[dict[str, Any]],
    steps: Sequence[int],
) -> None:
    """Raise InputError where the files of a finished arm lack validations.

    charged_passes: those in its ledger.
    history, points: its validations after epochs, and within the first ones.
    steps: those of the points, as far as the training went.
    """
    epochs = [record.get("epoch") for record in history]
    first = 0 if epochs == [0] else 1  # 0: it was kept as it started
    whole = epochs == [*range(first, len(epochs) + first)]
    if not history or history[-1].get("passes") != charged_passes or not whole:
        raise InputError(f"{folder.metrics} does not have every epoch: {how_to_restore(folder)}")
    last = history[-1]["step"]
    if [record.get("step") for record in points] != [step for step in steps if step < last]:
        raise InputError(f"{folder.early_metrics} does not have every validation: {how_to_restore(folder)}")


def how_to_restore(folder: ArmDirectory) -> str:
    """The end of a message on a finished arm that has lost something."""
    return (
        f"put the whole file back, or remove {folder} and give the same command again, which trains this arm "
        "alone"
    )
