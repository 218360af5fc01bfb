"""What a comparison would cost, before it is run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import nn

from attacks import PGD
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.data.dataset import Dataset, Spec, Split
from robust_tickets.evaluation.attack_names import build_attack
from robust_tickets.evaluation.attack_sets import TABLE_ATTACKS
from robust_tickets.evaluation.sanity_checks import sanity_passes
from robust_tickets.models import flops as flop_count
from robust_tickets.models import registry
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe.fields import Arm, Training
from robust_tickets.recipe.methods import make_method, method_settings
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment, search_fields
from robust_tickets.stages.reuse import arm_key
from robust_tickets.tickets.narrow_net import narrow_spec
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit

_TIMED_STEPS = 3
_TIMED_FLOPS = 1e12  # some ten seconds on a small machine
_LEAST_BATCH = 2  # BatchNorm needs more than one image


@dataclass(frozen=True)
class Estimate:
    """A row an arm, one for the search, a first stage and looking, for one seed; the seconds of all seeds."""

    rows: pd.DataFrame
    seconds: float

    def __str__(self) -> str:
        """The rows, and the time of all seeds on this machine."""
        shown = self.rows.assign(flops=[f"{f / 1e12:.3f} T" for f in self.rows.flops])
        return f"{shown.to_string(index=False)}\nall seeds, on this machine: about {_spoken(self.seconds)}"


@dataclass(frozen=True)
class PlannedArms:
    """Arms of an experiment that are to be trained; `label` tells them from those of other works."""

    what: Experiment
    arms: tuple[Arm, ...]
    label: str = ""


def estimate(what: Experiment, seeds: int, machine: Machine) -> Estimate:
    """What a comparison takes: see `estimate_all`."""
    return estimate_all([PlannedArms(what, what.recipe.compare.trained)], seeds, machine)


def estimate_all(works: Sequence[PlannedArms], seeds: int, machine: Machine) -> Estimate:
    """Passes and FLOPs exactly, by arithmetic; seconds from a few steps timed now on made-up images.

    What tickets of channels cost is counted as if each layer lost the same share of them. An arm or a search
    that several works share is counted with the first. Validation and evaluation are counted as if no sample
    broke, so they are an upper bound, as are searches that may end early. Where a step is dear, smaller
    batches are timed instead, which flatters no one: they are the slower ones.
    """
    rows: list[tuple[str, str, int, int, float]] = []
    looked = (0, 0, 0.0)  # passes, FLOPs, seconds
    seen: set[str] = set()
    rates: dict[tuple[object, ...], float] = {}
    for work in works:
        what, recipe, spec = work.what, work.what.recipe, work.what.spec(machine)
        planning.check(recipe, spec)
        machine.prepare(recipe.compute)
        net = what.fresh_net(0, machine)
        flops = flop_count.forward_flops(net, spec.shape)
        rate = {t: _rate(rates, what, net, t, flops, machine) for t in (recipe.search, recipe.train)}
        searched = json.dumps(search_fields(recipe, recipe.search.rounds), sort_keys=True)
        looking = 0
        for arm in work.arms:
            if arm == "dense-staged":
                first = planning.first_stage(recipe, spec)
                passes = planning.training_passes(first.training, first.steps)
                looking += -(-first.steps // first.per_epoch) * _validation(recipe, first.training)
                cost = (passes.total, passes.cost * flops, passes.cost * rate[recipe.search])
                rows.append((f"{first.arm}{work.label}", f"{first.epochs:.4g}", *cost))
            plan = planning.plan(recipe, arm, spec)
            needed = plan.from_ticket or bool(plan.size)
            if needed and searched not in seen:
                seen.add(searched)
                search, passes = planning.search_plan(recipe, spec), planning.search_passes(recipe, spec)
                epochs = -(-search.round_steps // search.per_epoch) * search.rounds
                looking += epochs * _validation(recipe, recipe.search)
                units = planning.search_cost(recipe, spec)
                cost = (passes.total, round(units * flops), units * rate[recipe.search])
                rows.append((f"search{work.label}", f"{search.steps / search.per_epoch:.4g}", *cost))
            key = arm_key(recipe, plan, searched if needed else None, 0, {})
            if key in seen:
                continue
            seen.add(key)
            passes = planning.training_passes(plan.training, plan.steps)
            looking += (-(-plan.steps // plan.per_epoch) + len(plan.points)) * _validation(
                recipe, plan.training
            )
            looking += _evaluation(what, spec)
            narrow = flops
            if plan.size:
                narrow = _narrow_flops(what, net, plan.size, flops, machine)
            elif plan.from_ticket:
                rounds = planning.search_plan(recipe, spec).rounds
                narrow = round(flops * planning.pass_share(recipe.search, rounds))
            seconds = passes.cost * rate[recipe.train] * narrow / flops
            rows.append(
                (f"{arm}{work.label}", f"{plan.epochs:.4g}", passes.total, passes.cost * narrow, seconds)
            )
        more = (looking, looking * flops, looking * max(rate.values()))
        looked = (looked[0] + more[0], looked[1] + more[1], looked[2] + more[2])
    table = pd.DataFrame(
        [*rows, ("validation and evaluation, at most", "", *looked)],
        columns=["arm", "epochs", "passes", "flops", "estimated_seconds"],
    )
    table["estimated_seconds"] = table.estimated_seconds.round(1)
    return Estimate(table, float(table.estimated_seconds.sum()) * seeds)


def _rate(
    rates: dict[tuple[object, ...], float],
    what: Experiment,
    net: nn.Module,
    training: Training,
    flops: int,
    machine: Machine,
) -> float:
    """Seconds of a forward pass's worth of work; timed once for trainings that take the same steps."""
    pace = (what.recipe.model, training.method, method_settings(training), training.batch, training.optimiser)
    if pace not in rates:
        rates[pace] = _seconds_a_cost(what, net, training, flops, machine)
    return rates[pace]


def _narrow_flops(what: Experiment, net: nn.Module, size: str, flops: int, machine: Machine) -> int:
    """Forward FLOPs of the narrow net, as if the ticket, which is not known yet, had layers pruned alike."""
    search, spec = what.recipe.search, what.model_spec(machine)
    density = (1 - search.ratio) ** (search.rounds * (2 if search.granularity == "channel" else 1))
    kept = {"flops": max(1, round(density * flops)), "weights": max(1, round(density * Mask.full(net).size))}
    narrow = narrow_spec(spec, size, **kept)
    return flop_count.forward_flops(registry.build(narrow, seed=0), spec.shape)


def _validation(recipe: Recipe, training: Training) -> int:
    """Passes of a validation if no sample broke: 2 a step, 1 clean, 1 final verdict, 1 for the loss."""
    fgsm = 2 + 1 if make_method(training).single_step else 0
    return (2 * recipe.evaluate.val_steps + 3 + fgsm) * recipe.data.val_images


def _evaluation(what: Experiment, spec: Spec) -> int:
    """Passes of an arm's evaluation, best and last, if no sample broke."""
    recipe = what.recipe
    attacks = [build_attack(name, what.threat, recipe.evaluate.rel_step) for name in TABLE_ATTACKS]
    steps = [attack.steps if isinstance(attack, PGD) else 0 for attack in attacks]
    judged = recipe.evaluate.images or spec.test_images
    return 2 * (sum(2 * n + 1 for n in steps) * judged + sanity_passes(judged))


def _seconds_a_cost(
    what: Experiment, net: nn.Module, training: Training, flops: int, machine: Machine
) -> float:
    """Seconds that one forward pass's worth of work takes, from a few training steps on noise."""
    spec = what.spec(machine)
    generator = torch.Generator().manual_seed(0)
    step = planning.training_passes(replace(training, batch=1), 1).cost * flops
    batch = min(training.batch, max(_LEAST_BATCH, int(_TIMED_FLOPS / (step * _TIMED_STEPS))))
    if machine.device != "cpu":
        batch = training.batch  # a GPU is not filled by less, and soon done with it
    n = batch * _TIMED_STEPS

    def noise(count: int) -> Split:
        pixels = torch.randint(256, (count, *spec.shape), generator=generator, dtype=torch.uint8)
        labels = torch.randint(spec.classes, (count,), generator=generator)
        return Split(pixels, labels, torch.arange(count)).to(machine.device)

    data = Dataset(spec, spec.title, noise(n), noise(1), noise(1), "")
    how = what.fit(replace(training, batch=batch), _TIMED_STEPS, 0)
    for _ in range(2):  # the first time warms up
        ledger = Ledger("train", clock_for(machine.device))
        with ledger.measure(), SilentProgress().stage("", 1) as meter:
            fit(net, None, data, how, Session(ledger, meter))
    cost = sum(ledger.passes[phase].cost for phase in ledger.passes if phase in ("attack", "update"))
    return ledger.step_seconds / cost


def _spoken(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds / 60:.1f} minutes"
