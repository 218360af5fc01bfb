"""Arms whose length follows from a timing, taken once: the steps are fixed in the arm's folder."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.recipe.arm_training import training_of
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train, Training
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.curve import how_to_restore
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import plan as planning
from robust_tickets.stages.arm_rates import ArmRates
from robust_tickets.stages.plan import ArmPlan
from robust_tickets.stages.reuse import arm_key, same_machine
from robust_tickets.stages.step_lengths import TicketCost


def is_timed(recipe: Recipe, arm: str) -> bool:
    """Whether the length of an arm follows from how fast this machine is."""
    return ARMS[arm].schedule.follows_seconds or _is_in_seconds(training_of(recipe, arm))


def waits_for_ticket_arm(recipe: Recipe, arm: str) -> bool:
    """Whether an arm's length follows from the training of the arm `ticket`, which is then finished first."""
    schedule = ARMS[arm].schedule
    timed_ticket = "ticket" in recipe.compare.arms and is_timed(recipe, "ticket")
    return schedule.follows_seconds or (schedule.follows_ticket and timed_ticket)


def _is_in_seconds(training: Training) -> bool:
    budgets = (training.budget, training.ticket_budget) if isinstance(training, Train) else ()
    return any(budget is not None and budget.unit == "seconds" for budget in budgets)


def plan_arm(
    run: RunDirectory,
    seed: int,
    arm: str,
    rates: ArmRates,
    cost: TicketCost | None = None,
    folder: ArmDirectory | None = None,
) -> ArmPlan:
    """Plan an arm's training, with the steps that its folder has, where they follow from a timing.

    Where there are none yet, the steps are those of the same arm of a run directory beside this one, so that
    it can be copied; or else they are timed now.

    rates: of the network that is trained, with the experiment and the ticket.
    cost: of the ticket, for arms whose length depends on it.
    folder: the arm's, where it is not the one of its name.

    Raises InputError for a budget that is shorter than a step, and where the run began on another machine.
    """
    experiment = rates.experiment
    recipe, spec = experiment.recipe, experiment.spec
    if not is_timed(recipe, arm):
        return planning.plan(recipe, arm, spec, cost, rates)
    folder = folder or run.arm(seed, arm)
    if folder.length.is_file():
        return planning.plan(recipe, arm, spec, steps=fixed_steps(folder))
    if folder.is_finished:
        raise InputError(f"{folder} is finished, but {folder.length.name} is gone: {how_to_restore(folder)}")
    inputs, machine = experiment.inputs(seed), experiment.machine
    run.check_inputs(inputs)
    run.check_machine(machine.device, any_machine=machine.any_machine, devices=machine.world_size)
    check_one_machine(arm, run, machine)
    key = _key(rates, arm, seed, inputs, cost)
    steps = _steps_beside(run, folder, key, machine, inputs)
    plan = planning.plan(recipe, arm, spec, cost, rates, steps)
    if steps is None:
        experiment.log(f"{folder.path.name}, seed {seed}: {plan.steps:,} steps, as timed on this machine")
    files.write_json(folder.length, {"steps": plan.steps, "of": key})
    return plan


def fixed_steps(folder: ArmDirectory) -> int:
    """The steps that were fixed in an arm's folder. Raises InputError for a damaged file."""
    fix = how_to_restore(folder)
    steps = files.read_object(folder.length, fix, ("steps",))["steps"]
    if type(steps) is not int or steps < 1:
        raise InputError(f"{folder.length} has {steps!r:.40} for steps, which is no such number: {fix}")
    return steps


def with_ticket_arm(cost: TicketCost, run: RunDirectory, seed: int, arm: str) -> TicketCost:
    """The cost of a ticket with what its own arm, which is finished, took; for an arm that waits for it.

    Raises InputError for an arm of as many seconds where they were taken beside other jobs.
    """
    search, ticket = run.search(seed), run.arm(seed, "ticket")
    steps = fixed_steps(ticket) if ticket.length.is_file() else None
    if not ARMS[arm].schedule.follows_seconds:
        return replace(cost, steps=steps)
    seconds = 0.0
    for folder in (search, ticket):
        ledger = files.read_object(folder.ledger, how_to_restore(folder), ("charged_seconds",))
        if ledger.get("jobs", 1) > 1:
            raise InputError(
                f"{arm}: the seconds of {folder} were taken while other jobs ran: remove it and compare "
                "without --jobs, or leave the arm out"
            )
        try:
            seconds += float(ledger["charged_seconds"])
        except (TypeError, ValueError):
            raise InputError(
                f"{folder.ledger} has no number as charged_seconds: {how_to_restore(folder)}"
            ) from None
    return replace(cost, steps=steps, seconds=seconds)


def check_jobs(recipe: Recipe, jobs: int, arms: Sequence[str] | None = None) -> None:
    """Raise InputError where several jobs are to run, and the length of an arm follows from a timing.

    arms: those that are trained; None: all of the recipe.
    """
    for arm in (recipe.compare.trained if arms is None else arms) if jobs > 1 else ():
        if is_timed(recipe, arm):
            instead = (
                "leave out the arm"
                if ARMS[arm].schedule.follows_seconds
                else "give budgets in passes or FLOPs"
            )
            raise InputError(
                f"the length of {arm} follows from seconds on this machine, which several jobs slow down: "
                f"leave out --jobs and --executor, or {instead}"
            )


def check_one_machine(arm: str, run: RunDirectory, machine: Machine) -> None:
    """Raise InputError where an arm takes as many seconds as others, which were taken on another machine."""
    if not ARMS[arm].schedule.follows_seconds or not run.machines():
        return
    try:
        run.check_machine(machine.device, devices=machine.world_size)
        if len(run.machines()) == 1:
            return
    except InputError:
        pass
    raise InputError(
        f"{arm} takes the seconds of the ticket on one machine, and {run.path} was not computed on this one "
        "alone: leave the arm out, or compare anew in another folder by --runs"
    )


def _key(rates: ArmRates, arm: str, seed: int, inputs: Mapping[str, str], cost: TicketCost | None) -> str:
    """A text that two arms share if their lengths would be timed alike."""
    recipe = rates.experiment.recipe
    training = training_of(recipe, arm)
    plan = ArmPlan(arm, training, steps=0, per_epoch=1)
    key = arm_key(recipe, plan, rates.ticket.hash if rates.ticket else None, seed, inputs)
    amounts = (training.budget, training.ticket_budget) if isinstance(training, Train) else ()
    followed = cost if waits_for_ticket_arm(recipe, arm) else None
    return hashlib.sha256(repr((key, *map(str, amounts), followed)).encode()).hexdigest()[:16]


def _steps_beside(
    run: RunDirectory, folder: ArmDirectory, key: str, machine: Machine, inputs: Mapping[str, str]
) -> int | None:
    """The steps of the same arm in a run directory beside this one, on this machine; None: there is none."""
    for source in run.sibling_arms(folder):
        try:
            sibling = RunDirectory.open(source.run_path)
            if files.read_object(source.length)["of"] == key and same_machine(sibling, machine, inputs):
                return fixed_steps(source)
        except (InputError, KeyError):
            continue  # not timed, or damaged
    return None
