"""The one training loop, in the order of the algorithm."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks import ThreatModel
from robust_tickets import evaluation
from robust_tickets.data import Dataset, batches, steps_per_epoch
from robust_tickets.errors import InputError
from robust_tickets.ledger import Ledger, Passes
from robust_tickets.models import Folded, fold, forward_flops, norms_after
from robust_tickets.progress import Meter
from robust_tickets.pruning import Mask, Masking
from robust_tickets.recipe import Compute, Evaluate, Training
from robust_tickets.training.methods import UPDATE_PASSES, training_attack
from robust_tickets.training.schedules import learning_rate

State = dict[str, Tensor]


@dataclass(frozen=True)
class Fit:
    """What a training needs besides the net: settings, threat model, validation, and the batches' seed."""

    settings: Training
    epochs: int
    threat: ThreatModel
    evaluate: Evaluate
    compute: Compute
    seed: int


@dataclass(frozen=True)
class Fitted:
    """What a training gives: the weights of the epoch that validation chose and of the last one.

    `history` has a record an epoch: epoch (from 1), lr (of its last step), train_loss, val_clean, val_robust
    (fractions), and the passes and FLOPs charged so far.
    """

    best: State
    best_epoch: int
    last: State
    history: list[dict[str, Any]]


def fit(net: nn.Module, mask: Mask | None, data: Dataset, how: Fit, ledger: Ledger, meter: Meter) -> Fitted:
    """Train `net` in place with SGD on the images that the method makes; `mask` None trains it dense.

    Validation is the robust accuracy under PGD on the held-out images, after every epoch; the first epoch of
    the highest one is the best. Raises InputError where the loss is no longer finite.
    """
    settings = how.settings
    attack = training_attack(settings, how.threat)
    folded = fold(net)
    masking = Masking(net, mask, norms_after(net)) if mask is not None else None
    if masking is not None:
        masking.mask_parameters()
    optimiser = torch.optim.SGD(
        net.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    flops = forward_flops(net, data.spec.shape)
    per_epoch = steps_per_epoch(len(data.train), settings.batch)
    steps = how.epochs * per_epoch
    best, best_epoch, history = snapshot(net), 0, list[dict[str, Any]]()

    for epoch in range(1, how.epochs + 1):
        net.train()
        loss_sum = torch.zeros((), device=data.train.images.device)
        stream = batches(
            data.train,
            data.spec,
            settings.batch,
            seed=how.seed,
            epoch=epoch,
            channels_last=how.compute.channels_last,
        )
        for step, (images, labels, ids) in enumerate(ledger.each("data", stream), (epoch - 1) * per_epoch):
            lr = learning_rate(settings, step, steps)
            passes = 2 * len(images)

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
                loss = F.cross_entropy(net(images), labels)
                loss.backward()  # type: ignore[no-untyped-call]
                if masking is not None:
                    masking.mask_gradients()
                optimiser.step()
                if masking is not None:
                    masking.mask_parameters()
                loss_sum += loss.detach()
            ledger.count("update", UPDATE_PASSES.times(len(images)), flops)
            meter.advance(1, passes)

        train_loss = float(loss_sum) / per_epoch
        if not math.isfinite(train_loss):
            raise InputError(
                f"the {ledger.stage} diverged in epoch {epoch} (loss {train_loss}) at a learning rate of "
                f"{settings.lr:g}: lower the learning rate, {ledger.stage}.lr"
            )
        with ledger.phase("validate"):
            clean, robust = _validate(folded, data, how, ledger, flops)
        history.append(
            {
                "epoch": epoch,
                "lr": lr,
                "train_loss": train_loss,
                "val_clean": clean,
                "val_robust": robust,
                "passes": ledger.charged_passes,
                "flops": ledger.charged_flops,
            }
        )
        if robust > max((h["val_robust"] for h in history[:-1]), default=-1.0):
            with ledger.phase("checkpoint"):
                best, best_epoch = snapshot(net), epoch
        ledger.settle()
        meter.note(f"epoch {epoch}/{how.epochs}  clean {clean:.1%}  robust {robust:.1%}")
    return Fitted(best, best_epoch, snapshot(net), history)


def snapshot(net: nn.Module) -> State:
    """A copy of the net's parameters and buffers, in host memory."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in net.state_dict().items()
    }


def _validate(folded: Folded, data: Dataset, how: Fit, ledger: Ledger, flops: int) -> tuple[float, float]:
    """Clean accuracy, and robust accuracy under a PGD that is the same for every epoch and seed."""
    folded.refresh()
    clean, robust = evaluation.evaluate(
        folded,
        data.val,
        ["clean", f"pgd-{how.evaluate.val_steps}"],
        how.threat,
        rel_step=how.evaluate.rel_step,
        batch=how.evaluate.batch,
        seed=0,
        channels_last=how.compute.channels_last,
    )
    for row in (clean, robust):
        ledger.count("validate", row.passes, flops)
    return clean.accuracy, robust.accuracy


def _mixed(seed: int, epoch: int) -> int:
    """A seed for the attack's random starts that differs from epoch to epoch."""
    return (seed << 32) | epoch
