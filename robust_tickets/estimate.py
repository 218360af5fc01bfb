"""What a comparison would cost, before it is run."""

from dataclasses import dataclass

import pandas as pd
import torch

from attacks import PGD
from robust_tickets import arms, models
from robust_tickets.data import SPECS, Dataset, Split, test_images
from robust_tickets.evaluation import attack_named
from robust_tickets.ledger import Ledger, clock_for
from robust_tickets.progress import Silent
from robust_tickets.recipe import Recipe, Training
from robust_tickets.report.read import TABLE_ATTACKS
from robust_tickets.stages.place import Machine, fit_of, fresh_net, model_spec, threat_model
from robust_tickets.training import fit

_TIMED_STEPS = 3


@dataclass(frozen=True)
class Estimate:
    """A row an arm (one for the search, one for looking), for one seed; and the seconds of all seeds."""

    rows: pd.DataFrame
    seconds: float

    def __str__(self) -> str:
        """The rows, and the time of all seeds on this machine."""
        shown = self.rows.assign(flops=[f"{f / 1e12:.3f} T" for f in self.rows.flops])
        total = f"all seeds, on this machine: about {self.seconds / 60:.1f} minutes"
        return f"{shown.to_string(index=False)}\n{total}"


def estimate(recipe: Recipe, seeds: int, machine: Machine) -> Estimate:
    """Passes and FLOPs exactly, by arithmetic; seconds from a few steps timed now on made-up images.

    Validation and evaluation are counted as if no sample broke, so they are an upper bound.
    """
    arms.check(recipe)
    machine.prepare(recipe.compute)
    flops = models.forward_flops(models.build(model_spec(recipe), seed=0), SPECS[recipe.data.name].shape)
    rate = {t: _seconds_a_pass(recipe, t, machine) for t in {recipe.search, recipe.train}}
    rows = []
    epochs = 0
    for arm in recipe.compare.arms:
        plan = arms.plan(recipe, arm)
        if plan.from_ticket:
            passes = arms.search_passes(recipe)
            searched = recipe.search.rounds * recipe.search.epochs
            epochs += searched
            rows.append(("search", searched, passes, passes.cost * rate[recipe.search]))
        passes = arms.epoch_passes(recipe, plan.training).times(plan.epochs)
        epochs += plan.epochs
        rows.append((arm, plan.epochs, passes, passes.cost * rate[recipe.train]))
    looking = _looking(recipe, epochs)
    dearest = max(rate.values())
    table = pd.DataFrame(
        [(arm, str(n), p.total, p.cost * flops, round(s, 1)) for arm, n, p, s in rows]
        + [("validation and evaluation, at most", "", looking, looking * flops, round(looking * dearest, 1))],
        columns=["arm", "epochs", "passes", "flops", "estimated_seconds"],
    )
    return Estimate(table, float(table.estimated_seconds.sum()) * seeds)


def _looking(recipe: Recipe, epochs: int) -> int:
    """Passes of a seed's validation and evaluation if no sample broke: 2 a step, 1 clean, 1 final verdict."""
    attacks = [attack_named(name, threat_model(recipe), recipe.evaluate.rel_step) for name in TABLE_ATTACKS]
    steps = [attack.steps if isinstance(attack, PGD) else 0 for attack in attacks]
    judged = test_images(recipe.data, recipe.evaluate.images)
    evaluation = sum(2 * n + 1 for n in steps) * judged * 2 * len(recipe.compare.arms)
    validation = (2 * recipe.evaluate.val_steps + 2) * recipe.data.val_images * epochs
    return evaluation + validation


def _seconds_a_pass(recipe: Recipe, training: Training, machine: Machine) -> float:
    """Seconds a forward pass's worth of work takes one sample, from a few training steps on noise."""
    spec = SPECS[recipe.data.name]
    generator = torch.Generator().manual_seed(0)
    n = training.batch * _TIMED_STEPS

    def noise(count: int) -> Split:
        pixels = torch.randint(256, (count, *spec.shape), generator=generator, dtype=torch.uint8)
        labels = torch.randint(spec.classes, (count,), generator=generator)
        return Split(pixels, labels, torch.arange(count)).to(machine.device)

    data = Dataset(recipe.data.name, spec.title, noise(n), noise(1), noise(1), "")
    net = fresh_net(recipe, 0, machine)
    for _ in range(2):  # the first time warms up
        ledger = Ledger("train", clock_for(machine.device))
        with ledger.running(), Silent().stage("", 1) as meter:
            fit(net, None, data, fit_of(recipe, training, 1, 0), ledger, meter)
    charged = ledger.report()
    cost = sum(ledger.passes[p].cost for p in ("attack", "update"))
    return float(charged["charged_seconds"]) / cost
