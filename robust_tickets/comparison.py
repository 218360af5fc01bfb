"""A comparison: arms times seeds, each a job that shares nothing with the others but the ticket's file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from robust_tickets import arms, data, locks, report, stages
from robust_tickets.errors import InputError
from robust_tickets.runs import RunDirectory
from robust_tickets.settings import TICKET_ARMS, Arm
from robust_tickets.stages import Experiment, Machine
from robust_tickets.tickets import CONTROLS, Ticket


@dataclass(frozen=True)
class Job:
    """One arm of one seed, whole: its training (for the ticket its search first) and its evaluation."""

    what: Experiment
    seed: int
    arm: Arm
    run: RunDirectory

    def __call__(self, machine: Machine) -> Path:
        """Do what is not there already; gives the arm's folder."""
        what, spec = self.what, self.what.spec(machine)
        plan = arms.plan(what.recipe, self.arm, spec)
        ticket = None
        if plan.from_ticket:
            ticket = self._ticket(machine)
            if self.arm in CONTROLS:
                init = stages.other_init(what, self.seed, machine)
                ticket = CONTROLS[self.arm](ticket, init, self.seed)
        elif plan.size:
            what = stages.narrowed(what, self._ticket(machine), plan.size, machine)
        elif self.arm == "dense-equal-cost" and any(arm in TICKET_ARMS for arm in what.recipe.compare.arms):
            plan = arms.plan(
                what.recipe, self.arm, spec, stages.searched(what, self._ticket(machine), machine)
            )
        folder = stages.train(what, self.seed, self.run, machine, plan, ticket)
        for name in ("best", "last"):
            stages.evaluate(folder / f"{name}.safetensors", what, machine)
        return folder

    def _ticket(self, machine: Machine) -> Ticket:
        return Ticket.load(stages.search(self.what, self.seed, self.run, machine))


def compare(what: Experiment, seeds: Sequence[int], runs: Path, machine: Machine) -> RunDirectory:
    """Run all arms of all seeds that are not there yet, then write the report (`report.write_report`)."""
    recipe = what.recipe
    spec = what.spec(machine)
    if what.images is None:
        data.check_place(recipe.data)
    arms.check(recipe, spec)  # now, rather than when an hour's training has to be thrown away
    run = RunDirectory.of(runs, recipe)
    # the ticket first, as its search can fail where dense training cannot
    order = sorted(recipe.compare.trained, key=lambda arm: not arms.plan(recipe, arm, spec).from_ticket)
    with locks.held(run.path):
        for seed in seeds:
            for arm in order:
                Job(what, seed, arm, run)(machine)
        for seed in seeds:
            for arm in order:
                lacks = report.lacking(run, seed, arm)
                if lacks:  # of an arm that is there already, as its ledger says
                    raise InputError(f"{lacks}: remove {run.arm(seed, arm)} and run compare again")
        report.write_report(run)
    return run


def search(what: Experiment, seed: int, runs: Path, machine: Machine) -> Path:
    """Find the ticket of one seed; gives its file."""
    run = RunDirectory.of(runs, what.recipe)
    with locks.held(run.path):
        return stages.search(what, seed, run, machine)


def train_from(what: Experiment, seed: int, runs: Path, machine: Machine, ticket_file: Path | None) -> Path:
    """Train dense on the full schedule, or from a ticket on the short one; gives the arm's folder.

    A ticket that this recipe's own search found is the arm `ticket` of `compare`; any other has an arm of its
    own. Raises InputError for a ticket that does not fit.
    """
    run = RunDirectory.of(runs, what.recipe)
    ticket = None if ticket_file is None else Ticket.load(ticket_file)
    plan = arms.plan(what.recipe, "dense" if ticket is None else "ticket", what.spec(machine))
    own = run.arm(seed, "search") / "ticket.safetensors"
    if ticket is not None and not (own.is_file() and Ticket.load(own).hash == ticket.hash):
        plan = replace(plan, arm=f"ticket-{ticket.hash[:8]}")
    with locks.held(run.path):
        folder = stages.train(what, seed, run, machine, plan, ticket)
    for name in ("best", "last"):
        if not (folder / f"{name}.safetensors").is_file():
            raise InputError(
                f"{folder} is finished, but {name}.safetensors is gone: remove it to train again"
            )
    return folder
