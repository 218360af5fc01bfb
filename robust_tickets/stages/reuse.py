"""Reuse of arms that are trained already, in the same run directory or in another one."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.version import __version__
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.fields import JUDGING
from robust_tickets.recipe.methods import METHODS, WRAPPERS, used_settings
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train
from robust_tickets.runs import files, tensor_file
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.curve import check_curve, how_to_restore
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.plan import ArmPlan

_LENGTHS = ("epochs", "iterations", "ticket_epochs", "ticket_iterations", "budget", "ticket_budget")
"""Fields of a training that its number of steps already holds."""


def arm_key(recipe: Recipe, plan: ArmPlan, ticket: str | None, seed: int, inputs: Mapping[str, str]) -> str:
    """Sixteen hex digits of everything that a trained arm and its evaluation depend on.

    That is less than the whole recipe: a dense arm depends on no search, and no arm on the other arms.

    ticket: the hash of the ticket that it starts from; None: it starts from the init.
    inputs: fingerprints of the user's own images and network.
    """
    table = recipes.to_table(recipe)
    training = schema.plain(replace(Train(), **vars(plan.training)))
    # an arm is judged where it is reused, so one that was not judged by AutoAttack, or not checked, will do
    for field in JUDGING:
        table["evaluate"].pop(field)
    left_out = {*_LENGTHS, *METHODS, *WRAPPERS} - used_settings(plan.training).keys()
    parts: dict[str, Any] = {
        "version": __version__,
        "format": recipes.FORMAT,
        **{concern: table[concern] for concern in ("data", "model", "threat", "evaluate", "compute")},
        "training": {name: value for name, value in training.items() if name not in left_out},
        "steps": plan.steps,
        "arm": plan.arm,
        "ticket": ticket,
        "seed": seed,
        "inputs": dict(inputs),
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_finished(folder: ArmDirectory, steps: Sequence[int]) -> None:
    """Raise InputError where a finished arm has lost a file that its training wrote, or a part of one.

    That a checkpoint is whole is seen by its size; its content is checked when it is evaluated.

    steps: those before which it is validated within its first epochs.
    """
    fix, records = how_to_restore(folder), (folder.record, folder.metrics, folder.early_metrics)
    faulty = [file for file in records if not file.is_file()]
    checkpoints = [folder.best, folder.last]
    if folder.record.is_file() and "best_is_average" in files.read_object(folder.record, fix):
        checkpoints.append(folder.average)
    faulty += [file for file in checkpoints if not tensor_file.is_ours(file)]
    if faulty:
        state = "damaged" if faulty[0].is_file() else "gone"
        raise InputError(f"{folder} is finished, but {faulty[0].name} is {state}: {fix}")
    passes = files.read_object(folder.ledger, fix, ("charged_passes",))["charged_passes"]
    history, points = (files.read_jsonl(file, fix) for file in (folder.metrics, folder.early_metrics))
    check_curve(folder, passes, history, points, steps)


def reuse_arm(
    experiment: Experiment,
    run: RunDirectory,
    target: ArmDirectory,
    plan: ArmPlan,
    key: str,
    inputs: Mapping[str, str],
) -> ArmDirectory | None:
    """Copy the finished arm with this key from a run directory in the same folder, and log it.

    Only from one that began on the same machine with the same inputs, images included. One that is not whole
    is passed over, with a line in the log.

    target: the arm's folder in `run`.
    Returns the folder that was copied, None where there is none.
    """
    for source in run.sibling_arms(target):
        try:
            sibling = RunDirectory.open(source.run_path)
            if files.read_object(source.record).get("key") != key:
                continue
            if not same_machine(sibling, experiment.machine, inputs):
                continue
            try:
                check_finished(source, plan.points)
            except InputError as error:
                experiment.log(f"passed over: {error}")
                continue
            paths = [path for path in source.path.iterdir() if path.is_file()]
            contents = {path.name: path.read_bytes() for path in paths if not path.name.startswith(".")}
        except (InputError, OSError):
            continue  # of another release, damaged, or being removed
        # the ledger last, as it marks the folder as finished
        for name in sorted(contents, key=lambda name: name == target.ledger.name):
            files.write_bytes(target.path / name, contents[name])
        experiment.log(f"copied from {source}")
        return source
    return None


def same_machine(run: RunDirectory, machine: Machine, inputs: Mapping[str, str]) -> bool:
    """Whether a run was computed on this machine alone, with these inputs."""
    if not run.machine_file.is_file():
        return False
    try:
        run.check_machine(machine.device, devices=machine.world_size)
        run.check_inputs(inputs)
        return len(run.machines()) == 1
    except InputError:
        return False
