"""The one training loop, in the order of the algorithm."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks import Bookmark, ThreatModel
from attacks.bookmark import State
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger, Passes
from robust_tickets.base.progress import StageProgress
from robust_tickets.base.random_streams import epoch_seed, step_seed, use_seed
from robust_tickets.data.batches import batches, steps_per_epoch, to_float
from robust_tickets.data.dataset import Dataset
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.recipe.fields import Compute, Evaluate, Training
from robust_tickets.training.checkpoint import load_weights
from robust_tickets.training.methods import UPDATE_PASSES, training_attack
from robust_tickets.training.monitors import Monitor
from robust_tickets.training.precision import passes_of
from robust_tickets.training.schedules import learning_rate
from robust_tickets.training.state import EachEpoch, Offer, StateDict, TrainingState, optimiser_state
from robust_tickets.training.validation import validate


@dataclass(frozen=True)
class TrainingConfig:
    """What a training needs besides the net: settings, threat model, validation, and the batches' seed.

    `steps` is the length of its schedule, `begin` the step of it at which the training begins. `points` are
    steps before which it is validated too, besides after every epoch.
    """

    settings: Training
    steps: int
    threat: ThreatModel
    evaluate: Evaluate
    compute: Compute
    seed: int
    begin: int = 0
    points: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainingResult:
    """What a training gives: the weights of the epoch that validation chose and of the last one.

    `history` has a record an epoch, the last one perhaps cut short: epoch (from 1), step (steps taken by its
    end), lr (of its last step), train_loss, what `validate` found, and the passes and FLOPs charged so far,
    and what was told of it after the epoch. `points` has one for each of the steps asked for: step, epoch (a
    fraction), what `validate` found, passes and FLOPs. `last` are the best epoch's where the training went
    back to it. `early` is the state before step `keep`, where that was asked for. `warnings` is what the
    watchers saw.
    """

    best: StateDict
    best_epoch: int
    last: StateDict
    last_epoch: int
    history: list[dict[str, Any]]
    early: StateDict | None = None
    warnings: tuple[str, ...] = ()
    points: list[dict[str, Any]] = field(default_factory=list)

    def record(self, epoch: int) -> dict[str, Any]:
        """The record of an epoch."""
        return next(record for record in self.history if record["epoch"] == epoch)


def fit(
    net: nn.Module,
    mask: Mask | None,
    data: Dataset,
    how: TrainingConfig,
    ledger: Ledger,
    meter: StageProgress,
    *,
    keep: int | None = None,
    state: TrainingState | None = None,
    offer: Offer = lambda step, state, now=False: None,
    each_epoch: EachEpoch | None = None,
) -> TrainingResult:
    """Train `net` in place on the images that the method makes; `mask` None trains it dense.

    Validation is the accuracy on the held-out images, clean and under PGD, after every epoch; the first epoch
    where the one that chooses is highest is the best. The state before step `keep` is given back too. Goes on
    from `state`, which an earlier call offered; the ledger has its account already. `each_epoch` looks at the
    net after every epoch, and may end the training. Raises DivergedError where loss or gradients are no
    longer finite, InputError where a batch is larger than the training set, or `state` does not fit.
    """
    settings = how.settings
    attack = training_attack(settings, how.threat)
    folded = fold(net)
    masking = masking_for(net, mask, data.spec.shape) if mask is not None else None
    if masking is not None:
        masking.mask_parameters()
    optimiser = make_optimiser(net, settings)
    flops = forward_flops(net, data.spec.shape)
    per_epoch = steps_per_epoch(len(data.train), settings.batch)
    spec = data.spec if settings.augment else replace(data.spec, crop_padding=0, flip=False)
    best, best_epoch, early, history = copy_state(net), 0, None, list[dict[str, Any]]()
    points: list[dict[str, Any]] = []
    loss_sum = torch.zeros((), device=data.train.images.device)
    good = state  # after the last whole epoch

    def keep_good() -> None:
        last = good
        if last is not None:
            offer(last.step, lambda: last, True)

    rate = partial(learning_rate, settings, steps=how.steps)
    watch = Monitor(net, ledger.stage, meter, rate, keep_good)
    if state is not None:
        state.restore(net, optimiser)
        best, best_epoch, early, history = state.best, state.best_epoch, state.early, list(state.history)
        points = list(state.points)
        if each_epoch is not None:
            each_epoch.restore(state.watched)
        watch.warnings += state.warnings
        loss_sum += state.loss_sum.to(loss_sum.device)
    with ledger.phase("compile" if how.compute.compile else "other"):
        like = to_float(data.train.images[: settings.batch], how.compute.channels_last)
        through, missing = passes_of(net, folded, how.compute, like)
    watch.foresee(missing)

    def standing(step: int, validation: Callable[[], list[State]] = list) -> TrainingState:
        """Where it stands before a step, or in the validation before that step."""
        watch.check()
        ledger.settle()
        known = (best, best_epoch, early, loss_sum.cpu().clone(), list(history), tuple(watch.warnings))
        moments, report = optimiser_state(optimiser), ledger.report()
        watched = {} if each_epoch is None else each_epoch.state()
        levels = copy.deepcopy(validation())
        return TrainingState(step, copy_state(net), moments, *known, report, levels, list(points), watched)

    def validated(step: int) -> tuple[dict[str, Any], Tensor]:
        """The validation before a step, from where the state left it."""
        levels = state.validation if state is not None and state.step == step else ()
        mark = Bookmark(levels, lambda now: offer(step, partial(standing, step, now)), data.val.images.device)
        judged = (how.threat, how.evaluate, settings.one_step, how.compute.channels_last)
        with ledger.phase("validate"):
            try:
                return validate(folded, data.val, *judged, ledger, flops, mark)
            except InputError as error:  # the last step's update was too much: the net gives NaN
                raise watch.diverged(step - 1, f"on validation images {error}") from None

    def spent() -> dict[str, int]:
        return {"passes": ledger.charged_passes, "flops": ledger.charged_flops}

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
        for step, (images, labels, ids) in enumerate(ledger.charge_each("data", stream), first):
            offer(step, partial(standing, step))
            if step in how.points:
                points.append({"step": step, "epoch": step / per_epoch, **validated(step)[0], **spent()})
            if step == keep:
                early = copy_state(net)
            lr = learning_rate(settings, step, how.steps)
            passes = UPDATE_PASSES.times(len(images)).total

            if attack is not None:
                with ledger.phase("attack"):
                    folded.refresh()
                    # images and labels are right by construction, and a check would make a GPU wait
                    result = attack.run(
                        through.attack,
                        images,
                        labels,
                        sample_ids=ids,
                        seed=epoch_seed(how.seed, epoch),
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
                with use_seed(step_seed(how.seed, step)):  # dropout and the like
                    logits = through.update(images)
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
        found, standing_clean = validated(end)
        enough = False
        told: dict[str, Any] = {}
        if each_epoch is not None:
            with ledger.phase("prune"):
                told, enough = each_epoch.look()
            enough = enough and (keep is None or keep < end)  # what is to be given back must be there
        history.append(
            {
                "epoch": epoch,
                "step": end,
                "lr": learning_rate(settings, end - 1, how.steps),
                "train_loss": float(loss_sum) / (end - begin),
                **found,
                **spent(),
                **told,
            }
        )
        chosen = f"val_{how.evaluate.select_by}"
        if history[-1][chosen] > max((h[chosen] for h in history[:-1]), default=-1.0):
            with ledger.phase("checkpoint"):
                best, best_epoch = copy_state(net), epoch
        ledger.settle()
        ledger.end_epoch()
        shown = f"clean {found['val_clean']:.1%}  robust {found['val_robust']:.1%}"
        meter.note(f"epoch {epoch}/{-(-how.steps // per_epoch)}  {shown}")
        if masking is not None:
            masking.check()
        watch.pace(epoch, ledger.step_seconds - before, end - first)
        watch.classes(history, standing_clean, data.val.labels, last=enough or end == how.steps)
        with ledger.phase("checkpoint"):
            good = standing(end)
        if watch.overfitted(history, data.val.labels) and settings.overfitting == "restore-best":
            load_weights(net, best, "best epoch")
            early = best if early is None and keep is not None else early
            return TrainingResult(
                best, best_epoch, best, best_epoch, history, early, tuple(watch.warnings), points
            )
        if enough:
            break
    return TrainingResult(
        best, best_epoch, copy_state(net), epoch, history, early, tuple(watch.warnings), points
    )


def make_optimiser(net: nn.Module, settings: Training) -> torch.optim.Optimizer:
    """SGD with momentum, or Adam with the momentum as its beta1; weight decay is added to the gradient."""
    if settings.optimiser == "adam":
        betas = (settings.momentum, 0.999)
        return torch.optim.Adam(
            net.parameters(), lr=settings.lr, betas=betas, weight_decay=settings.weight_decay
        )
    return torch.optim.SGD(
        net.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def copy_state(net: nn.Module) -> StateDict:
    """A copy of the net's parameters and buffers, in host memory."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in net.state_dict().items()
    }
