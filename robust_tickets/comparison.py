"""A comparison: arms times seeds, each a job that shares nothing with the others but the ticket's file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robust_tickets import arms, report, stages
from robust_tickets.errors import InputError
from robust_tickets.recipe import Arm, Recipe
from robust_tickets.runs import RunDirectory
from robust_tickets.stages import Machine
from robust_tickets.tickets import Ticket


@dataclass(frozen=True)
class Job:
    """One arm of one seed, whole: its training (for the ticket its search first) and its evaluation."""

    recipe: Recipe
    seed: int
    arm: Arm
    run: RunDirectory

    def __call__(self, machine: Machine) -> Path:
        """Do what is not there already; gives the arm's folder."""
        plan = arms.plan(self.recipe, self.arm)
        ticket = None
        if plan.from_ticket:
            ticket = Ticket.load(stages.search(self.recipe, self.seed, self.run, machine))
        folder = stages.train(self.recipe, self.seed, self.run, machine, plan, ticket)
        for name in ("best", "last"):
            stages.evaluate(folder / f"{name}.safetensors", self.recipe, machine)
        return folder


def compare(recipe: Recipe, seeds: Sequence[int], runs: Path, machine: Machine) -> RunDirectory:
    """Run all arms of all seeds that are not there yet, then write timing.csv, timing.md and curves.svg."""
    arms.check(recipe)  # now, rather than when an hour's training has to be thrown away
    run = RunDirectory.of(runs, recipe)
    # the ticket first, as its search can fail where dense training cannot
    order = sorted(recipe.compare.arms, key=lambda arm: not arms.plan(recipe, arm).from_ticket)
    for seed in seeds:
        for arm in order:
            Job(recipe, seed, arm, run)(machine)
    report.write_report(run)
    return run


def train_from(recipe: Recipe, seed: int, runs: Path, machine: Machine, ticket_file: Path | None) -> Path:
    """Train dense on the full schedule, or from a ticket on the short one; gives the arm's folder.

    A ticket that this recipe's own search found is the arm `ticket` of `compare`; any other has an arm of its
    own. Raises InputError for a ticket that does not fit.
    """
    run = RunDirectory.of(runs, recipe)
    ticket = None if ticket_file is None else Ticket.load(ticket_file)
    plan = arms.plan(recipe, "dense" if ticket is None else "ticket")
    own = run.arm(seed, "search") / "ticket.safetensors"
    if ticket is not None and not (own.is_file() and Ticket.load(own).hash == ticket.hash):
        plan = replace(plan, arm=f"ticket-{ticket.hash[:8]}")
    folder = stages.train(recipe, seed, run, machine, plan, ticket)
    for name in ("best", "last"):
        if not (folder / f"{name}.safetensors").is_file():
            raise InputError(
                f"{folder} is finished, but {name}.safetensors is gone: remove it to train again"
            )
    return folder
