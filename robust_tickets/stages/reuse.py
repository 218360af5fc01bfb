"""Arms that a run directory beside has trained already: the same training is not done twice."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.version import __version__
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.fields import Train
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import files as run_files
from robust_tickets.runs.directory import ArmDirectory, RunDirectory
from robust_tickets.stages.plan import ArmPlan

_LENGTH = ("epochs", "iterations", "ticket_epochs", "ticket_iterations")
"""Fields of a training that its steps have in them."""


def arm_key(what: Recipe, plan: ArmPlan, ticket: str | None, seed: int, inputs: Mapping[str, str]) -> str:
    """Sixteen hex digits of all that a trained arm and its evaluation hang on.

    That is less than the whole recipe: a dense arm knows nothing of the search, and no arm of the others.
    `ticket` is the hash of the ticket it begins from.
    """
    whole = recipes.to_table(what)
    training = schema.plain(replace(Train(), **vars(plan.training)))
    decides: dict[str, Any] = {
        "version": __version__,
        "format": recipes.FORMAT,
        **{concern: whole[concern] for concern in ("data", "model", "threat", "evaluate", "compute")},
        "training": {name: value for name, value in training.items() if name not in _LENGTH},
        "steps": plan.steps,
        "arm": plan.arm,
        "ticket": ticket,
        "seed": seed,
        "inputs": dict(inputs),
        **({"images": plan.images} if plan.images else {}),
    }
    text = json.dumps(decides, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def reuse_arm(
    run: RunDirectory, seed: int, arm: str, key: str, machine: Machine, inputs: Mapping[str, str]
) -> ArmDirectory | None:
    """Copy the finished arm of that key from a run directory beside this one, and say so: its folder there.

    Only from one that was begun on the same machine with the same inputs, the images among them; None where
    there is none.
    """
    for there in run.sibling_arms(seed, arm):
        try:
            other = RunDirectory.open(there.run_path)
            if run_files.read_json(there.record).get("key") != key or not same_machine(
                other, machine, inputs
            ):
                continue
            names = (f for f in there.path.iterdir() if f.is_file() and not f.name.startswith("."))
            files = {f.name: f.read_bytes() for f in names}
        except (InputError, AttributeError, OSError):
            continue  # another release's, damaged, or being removed
        target = run.arm(seed, arm)
        # the ledger last, as it marks the folder as finished
        for name in sorted(files, key=lambda name: name == target.ledger.name):
            run_files.write_bytes(target.path / name, files[name])
        machine.progress.log(f"taken over from {there}")
        return there
    return None


def same_machine(run: RunDirectory, machine: Machine, inputs: Mapping[str, str]) -> bool:
    """Whether a run was begun on this machine, with these inputs."""
    if not run.machine_file.is_file():
        return False
    try:
        run.check_machine(machine.device)
        run.check_inputs(inputs)
    except InputError:
        return False
    return True
