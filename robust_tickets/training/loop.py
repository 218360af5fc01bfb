"""The one training loop, in the order of the algorithm."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import attacks
from attacks import Bookmark, ThreatModel
from attacks.bookmark import State
from robust_tickets import evaluation
from robust_tickets.chance import seeded
from robust_tickets.data import Dataset, batches, steps_per_epoch
from robust_tickets.evaluation import Judging, Row
from robust_tickets.ledger import Ledger, Passes
from robust_tickets.models import Folded, fold, forward_flops, norms_after
from robust_tickets.progress import Meter
from robust_tickets.pruning import Mask, Masking
from robust_tickets.settings import Compute, Evaluate, Training
from robust_tickets.training.checkpoint import plant
from robust_tickets.training.methods import UPDATE_PASSES, training_attack
from robust_tickets.training.monitors import Watch
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import Offer, TrainingState, Weights, moments_of


@dataclass(frozen=True)
class Fit:
    """What a training needs besides the net: settings, threat model, validation, and the batches' seed.

    `steps` is the length of its schedule, `begin` the step of it at which the training begins.
    """

    settings: Training
    steps: int
    threat: ThreatModel
    evaluate: Evaluate
    compute: Compute
    seed: int
    begin: int = 0


@dataclass(frozen=True)
class Fitted:
    """What a training gives: the weights of the epoch that validation chose and of the last one.

    `history` has a record an epoch, the last one perhaps cut short: epoch (from 1), step (steps taken by its
    end), lr (of its last step), train_loss, val_clean, val_robust (fractions), and the passes and FLOPs
    charged so far; and val_fgsm where the method is fgsm. `last` are the best epoch's where the training went
    back to it. `early` is the state before step `keep`, where that was asked for. `warnings` is what the
    watchers saw.
    """

    best: Weights
    best_epoch: int
    last: Weights
    last_epoch: int
    history: list[dict[str, Any]]
    early: Weights | None = None
    warnings: tuple[str, ...] = ()

    def record(self, epoch: int) -> dict[str, Any]:
        """The record of an epoch."""
        return next(record for record in self.history if record["epoch"] == epoch)


def fit(
    net: nn.Module,
    mask: Mask | None,
    data: Dataset,
    how: Fit,
    ledger: Ledger,
    meter: Meter,
    *,
    keep: int | None = None,
    state: TrainingState | None = None,
    offer: Offer = lambda step, state, now=False: None,
) -> Fitted:
    """Train `net` in place on the images that the method makes; `mask` None trains it dense.

    Validation is the accuracy on the held-out images, clean and under PGD, after every epoch; the first epoch
    where the one that chooses is highest is the best. The state before step `keep` is given back too. Goes on
    from `state`, which an earlier call offered; the ledger has its account already. Raises DivergedError
    where loss or gradients are no longer finite, InputError where a batch is larger than the training set, or
    `state` does not fit.
    """
    settings = how.settings
    attack = training_attack(settings, how.threat)
    folded = fold(net)
    masking = Masking(net, mask, norms_after(net)) if mask is not None else None
    if masking is not None:
        masking.mask_parameters()
    optimiser = optimiser_of(net, settings)
    flops = forward_flops(net, data.spec.shape)
    per_epoch = steps_per_epoch(len(data.train), settings.batch)
    spec = data.spec if settings.augment else replace(data.spec, shift=0, flip=False)
    best, best_epoch, early, history = snapshot(net), 0, None, list[dict[str, Any]]()
    loss_sum = torch.zeros((), device=data.train.images.device)
    good = state  # after the last whole epoch

    def keep_good() -> None:
        last = good
        if last is not None:
            offer(last.step, lambda: last, True)

    rate = partial(learning_rate, settings, steps=how.steps)
    watch = Watch(net, ledger.stage, meter, rate, keep_good)
    if state is not None:
        state.restore(net, optimiser)
        best, best_epoch, early, history = state.best, state.best_epoch, state.early, list(state.history)
        watch.warnings += state.warnings
        loss_sum += state.loss_sum.to(loss_sum.device)

    def standing(step: int, validation: Callable[[], list[State]] = list) -> TrainingState:
        """Where it stands before a step, or in the validation before that step."""
        watch.check()
        ledger.settle()
        known = (best, best_epoch, early, loss_sum.cpu().clone(), list(history), tuple(watch.warnings))
        moments, report = moments_of(optimiser), ledger.report()
        return TrainingState(step, snapshot(net), moments, *known, report, copy.deepcopy(validation()))

    def validating(step: int, validation: Callable[[], list[State]]) -> None:
        offer(step, partial(standing, step, validation))

    last_epoch = history[-1]["epoch"] if history else how.begin // per_epoch
    for epoch in range(last_epoch + 1, -(-how.steps // per_epoch) + 1):
        net.train()
        begin, end = max((epoch - 1) * per_epoch, how.begin), min(epoch * per_epoch, how.steps)
        first = max(begin, state.step if state is not None else begin)
        if first == begin:
            loss_sum.zero_()
        before = ledger.step_seconds
        whole = batches(
            data.train,
            spec,
            settings.batch,
            seed=how.seed,
            epoch=epoch,
            channels_last=how.compute.channels_last,
        )
        stream = islice(whole, first - (epoch - 1) * per_epoch, end - (epoch - 1) * per_epoch)
        for step, (images, labels, ids) in enumerate(ledger.each("data", stream), first):
            offer(step, partial(standing, step))
            if step == keep:
                early = snapshot(net)
            lr = learning_rate(settings, step, how.steps)
            passes = UPDATE_PASSES.times(len(images)).total

            if attack is not None:
                with ledger.phase("attack"):
                    folded.refresh()
                    # images and labels are right by construction, and a check would make a GPU wait
                    result = attack.run(
                        folded,
                        images,
                        labels,
                        sample_ids=ids,
                        seed=_mixed(how.seed, epoch),
                        verdict=False,
                        check=False,
                    )
                    images = result.images
                attacked = Passes(result.forwards, result.backwards)
                ledger.count("attack", attacked, flops)
                passes += attacked.total

            with ledger.phase("update"):
                for group in optimiser.param_groups:
                    group["lr"] = lr
                optimiser.zero_grad(set_to_none=True)
                with seeded(_spread(how.seed, step)):  # dropout and the like
                    logits = net(images)
                loss = F.cross_entropy(logits, labels)
                loss.backward()  # type: ignore[no-untyped-call]
                if masking is not None:
                    masking.mask_gradients()
                watch.step(step, loss, images)
                optimiser.step()
                if masking is not None:
                    masking.mask_parameters()
                loss_sum += loss.detach()
            ledger.count("update", UPDATE_PASSES.times(len(images)), flops)
            meter.advance(1, passes)

        watch.check()
        mark = Bookmark(
            state.validation if state is not None and state.step == end else (),
            partial(validating, end),
            data.val.images.device,
        )
        with ledger.phase("validate"):
            try:
                rows = _validate(folded, data, how, ledger, flops, mark)
            except attacks.InputError as error:  # the last step's update was too much: the net gives NaN
                raise watch.diverged(end - 1, f"on validation images {error}") from None
        clean, robust = rows["clean"].accuracy, rows["robust"].accuracy
        history.append(
            {
                "epoch": epoch,
                "step": end,
                "lr": learning_rate(settings, end - 1, how.steps),
                "train_loss": float(loss_sum) / (end - begin),
                "val_clean": clean,
                "val_robust": robust,
                "passes": ledger.charged_passes,
                "flops": ledger.charged_flops,
            }
            | ({"val_fgsm": rows["fgsm"].accuracy} if "fgsm" in rows else {})
        )
        chosen = f"val_{how.evaluate.choose}"
        if history[-1][chosen] > max((h[chosen] for h in history[:-1]), default=-1.0):
            with ledger.phase("checkpoint"):
                best, best_epoch = snapshot(net), epoch
        ledger.settle()
        epochs = (
            f"{how.steps / per_epoch:g}" if how.steps % per_epoch == 0 else f"{how.steps / per_epoch:.1f}"
        )
        meter.note(f"epoch {epoch}/{epochs}  clean {clean:.1%}  robust {robust:.1%}")
        if masking is not None:
            masking.check()
        watch.pace(epoch, ledger.step_seconds - before, end - first)
        watch.classes(history, rows["clean"].standing, data.val.labels, last=end == how.steps)
        with ledger.phase("checkpoint"):
            good = standing(end)
        if watch.overfitted(history, data.val.labels) and settings.overfitting == "go-back":
            plant(net, best, "best epoch")
            early = best if early is None and keep is not None else early
            return Fitted(best, best_epoch, best, best_epoch, history, early, tuple(watch.warnings))
    return Fitted(best, best_epoch, snapshot(net), epoch, history, early, tuple(watch.warnings))


def optimiser_of(net: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam with the momentum as its beta1; weight decay is added to the gradient."""
    if settings.optimiser == "adam":
        betas = (settings.momentum, 0.999)
        return torch.optim.Adam(
            net.parameters(), lr=settings.lr, betas=betas, weight_decay=settings.weight_decay
        )
    return torch.optim.SGD(
        net.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def snapshot(net: nn.Module) -> Weights:
    """A copy of the net's parameters and buffers, in host memory."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in net.state_dict().items()
    }


def _validate(
    folded: Folded, data: Dataset, how: Fit, ledger: Ledger, flops: int, mark: Bookmark
) -> dict[str, Row]:
    """What stands clean, and robust under a PGD that is the same for every epoch and seed.

    And under FGSM where the training uses it: where that stands while PGD falls, it has overfitted to FGSM.
    """
    folded.refresh()
    judged = how.evaluate
    judging = Judging(how.threat, judged.rel_step, judged.batch, channels_last=how.compute.channels_last)
    attacks = {"robust": f"pgd-{judged.val_steps}"} | (
        {"fgsm": "fgsm"} if how.settings.method == "fgsm" else {}
    )
    rows = list(evaluation.evaluate(folded, data.val, list(attacks.values()), judging, mark=mark))
    for row in rows:
        ledger.count("validate", row.passes, flops)
    return dict(zip(["clean", *attacks], rows, strict=True))


def _mixed(seed: int, epoch: int) -> int:
    """A seed of 64 bits for the attack's starts, which differs from epoch to epoch."""
    return (seed << 32) | epoch


def _spread(seed: int, step: int) -> int:
    """A seed for what the net draws in a step, of 32 bits: PyTorch's generator on the CPU reads no more.

    The seeds of neighbouring trainings lie far apart (Knuth's multiplicative hash), and steps count down,
    away from the seeds of inits and batches.
    """
    return (seed * 2_654_435_761 - step - 1) % 2**32
