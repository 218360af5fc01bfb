"""Trainings with a moving average of the weights: what it changes, what it costs, and resuming them."""

import copy
from dataclasses import replace

import pytest
import torch
from method_case import SmallNet, batch_of, data_of, method_of
from training_case import EveryState, half_mask, same_state, train

from robust_tickets.base.ledger import Passes
from robust_tickets.data.dataset import SPECS
from robust_tickets.models.fold import fold
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import masking_for
from robust_tickets.recipe.fields import Model
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json, read_jsonl
from robust_tickets.stages import costs
from robust_tickets.stages import plan as planning
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.reuse import check_finished
from robust_tickets.stages.train import train as train_arm
from robust_tickets.tickets.compact_net import compact_net
from robust_tickets.training import epochs
from robust_tickets.training.averaging import WeightAverage
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.checkpointer import Checkpointer
from robust_tickets.training.methods.base import Networks
from robust_tickets.training.validation import Validation


class Dropped(SmallNet):
    """The small network for digits, with dropout before its BatchNorm."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.head = torch.nn.Conv2d(1, 4, 3), torch.nn.Linear(4 * 36, 10)
        self.float()

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.conv(self.dropout(x)))).flatten(1))


@pytest.fixture
def averaged(config):
    """Natural training of two epochs of four steps, averaged; three batches give the statistics."""
    settings = replace(config.settings, method="natural")
    return replace(config, settings=settings, average=0.5, average_batches=3)


def test_the_weights_are_trained_as_without_it(tiny_data, averaged):
    net, every = Dropped(), EveryState()
    twin = copy.deepcopy(net)
    plain, _ = train(net, None, tiny_data, replace(averaged, average=0.0), checkpointer=every)
    result, ledger = train(twin, None, tiny_data, averaged)
    assert same_state(plain.last, result.last)
    assert plain.average is None
    assert not same_state(result.last, result.average)
    assert all(state["average"] == {} for state in every.states)
    assert ledger.passes["average"] == Passes(forward=2 * 3 * 32)
    own = {"val_average_clean", "val_average_robust", "val_average_loss"}
    for ours, theirs in zip(plain.history, result.history, strict=True):
        assert theirs.keys() - ours.keys() == own
        assert theirs["passes"] - ours["passes"] == theirs["epoch"] * 3 * 32
        same = ours.keys() - {"passes", "flops"}
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}


@pytest.fixture
def zeros_seen(monkeypatch):
    """Checks after each step that the average is 0 where the masking holds the weights at 0."""
    seen, update = [], WeightAverage.update

    def checked(self, step, images):
        update(self, step, images)
        for ours, theirs in zip(self._average, self._weights, strict=True):
            assert torch.all(ours[theirs == 0] == 0.0)
        seen.append(sum(int((weights == 0).sum()) for weights in self._weights))

    monkeypatch.setattr(WeightAverage, "update", checked)
    return seen


def test_pruned_weights_are_exactly_0_in_it_after_any_step(conv_net, tiny_data, averaged, zeros_seen):
    """Those of a filter that died whole too, and those of a network without its dead channels."""
    entries = {name: keep.clone() for name, keep in half_mask(conv_net).items()}
    entries["layer1.0.conv1.weight"][:4] = False
    mask, shape = Mask(entries), tiny_data.spec.shape
    small = compact_net(conv_net, mask, shape)
    assert small.plan.removed_channels == 0 or small.mask is not None
    for net, kept in ((copy.deepcopy(conv_net), mask), (small.net, small.mask)):
        zeros_seen.clear()
        result, _ = train(net, kept, tiny_data, averaged)
        assert len(zeros_seen) == 8
        assert min(zeros_seen) >= masking_for(net, kept, shape).zeros > 0
        for name, keep in kept.items():
            assert torch.all(result.average[name][~keep] == 0.0)
            assert torch.any(result.average[name][keep] != 0.0)


@pytest.mark.parametrize("channels_last", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_resuming_from_any_step_gives_the_same_bits(channels_last, tiny_data, averaged, tmp_path):
    """Before the batches are kept, between them, and within both validations."""
    averaged = replace(averaged, compute=replace(averaged.compute, channels_last=channels_last))
    net, every, start = Dropped(), EveryState(), Dropped()
    whole, account = train(net, None, tiny_data, averaged, checkpointer=every)
    kept = [sum(name.startswith("images") for name in state["average"]) for state in every.states]
    assert max(kept) == 3
    assert {0, 1, 2} < set(kept)
    states = {(s["step"], n, s["epoch"]): s for s, n in zip(every.states, kept, strict=True)}
    for state in [*states.values(), every.states[-1]]:
        checkpointer = Checkpointer(tmp_path / str(len(list(tmp_path.iterdir()))))
        checkpointer.save(state["step"], state)
        saved = checkpointer.newest()
        again, ledger = train(copy.deepcopy(start), None, tiny_data, averaged, saved=saved)
        assert same_state(again.average, whole.average)
        assert same_state(again.best, whole.best)
        assert same_state(again.last, whole.last)
        assert (again.best_is_average, again.history) == (whole.best_is_average, whole.history)
        assert (ledger.passes, ledger.flops) == (account.passes, account.flops)


@pytest.fixture
def scripted(monkeypatch):
    """Lets validations give these robust accuracies, those of the weights and of the average in turn."""

    def script(*accuracies):
        rest, real = iter(accuracies), epochs.validate

        def validate(*args):
            validation = real(*args)
            record = {**validation.record, "val_robust": next(rest)}
            return Validation(record, validation.right, validation.passes)

        monkeypatch.setattr(epochs, "validate", validate)

    return script


@pytest.mark.parametrize(
    ("accuracies", "epoch", "is_average"),
    [
        ((0.1, 0.2, 0.3, 0.25), 2, False),
        ((0.1, 0.3, 0.3, 0.2), 1, True),  # the first of equals
        ((0.2, 0.2, 0.1, 0.1), 1, False),  # the weights, where both are as good
        ((0.1, 0.2, 0.15, 0.4), 2, True),
    ],
)
def test_the_best_is_the_better_of_both_over_all_epochs(
    accuracies, epoch, is_average, tiny_data, averaged, scripted
):
    scripted(*accuracies)
    result, _ = train(Dropped(), None, tiny_data, averaged)
    assert (result.best_epoch, result.best_is_average) == (epoch, is_average)
    if epoch == 2:
        assert same_state(result.best, result.average if is_average else result.last)


@pytest.mark.parametrize(("later", "best_epoch"), [(0.4, 2), (0.25, 1)])
def test_where_asked_it_goes_back_to_the_best_weights_and_their_average(
    later, best_epoch, tiny_data, averaged, scripted, monkeypatch
):
    """Though the averages were better; resumed in between or not."""
    monkeypatch.setattr(
        "robust_tickets.training.monitors.overfitted", lambda history, labels: history[-1]["epoch"] == 2
    )
    settings = replace(averaged.settings, method="fgsm", schedule="constant", overfitting="restore-best")
    averaged, net = replace(averaged, settings=settings), Dropped()
    once, _ = train(copy.deepcopy(net), None, tiny_data, replace(averaged, steps=4))
    scripted(0.2, 0.3, *(0.1, later) * 2)
    every, twin = EveryState(), copy.deepcopy(net)
    whole, _ = train(net, None, tiny_data, averaged, checkpointer=every)
    saved = next(state for state in every.states if state["step"] == 6)
    resumed, _ = train(twin, None, tiny_data, averaged, saved=saved)
    for back in (whole, resumed):
        assert back.last_epoch == 1
        assert same_state(back.last, once.last)
        assert same_state(back.average, once.average)
        assert (back.best_epoch, back.best_is_average) == (best_epoch, True)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("pgd", {}), ("natural", {}), ("pgi", {}), ("liet", {}), ("liet", {"constant_start": True})],
)
def test_the_images_kept_are_those_of_the_update_s_last_pass(name, settings):
    net, batch = SmallNet().train(), batch_of()
    method, seen = method_of(name, **settings), []
    method.prepare(data_of(batch))
    nets = Networks(lambda images: net(seen.append(images) or images), fold(net))
    adversarial = method.perturb(nets, batch)
    method.loss(nets, batch, adversarial)
    assert torch.equal(method.images_of_update(adversarial), seen[-1])


@pytest.mark.parametrize("model", [Model("lenet-300-100", width=0.2), Model("resnet20", width=0.5)])
def test_an_arm_has_three_checkpoints_at_the_planned_cost(model, tiny_recipe, tmp_path):
    """In less than two epochs; networks without BatchNorm pay for no statistics."""
    schedule = replace(tiny_recipe.train, iterations=7, ticket_iterations=7, method="natural")
    recipe = replace(tiny_recipe, model=model, train=replace(schedule, average=0.9, average_batches=2))
    experiment, run = Experiment(recipe), RunDirectory.of(tmp_path, recipe)
    plan = planning.plan(recipe, "dense", SPECS["digits"])
    folder = train_arm(experiment, 0, run, plan, None)
    has_norms = model.name != "lenet-300-100"
    passes = costs.training_passes(plan.training, 7, 10, plan.per_epoch, has_norms)
    assert read_json(folder.ledger)["charged_passes"] == passes.total
    assert passes.total == 7 * 32 * 2 + has_norms * (2 + 2) * 32
    check_finished(folder, plan.points)
    best, last, average = (Checkpoint.load(file) for file in folder.checkpoints)
    assert (last.averaged, average.averaged, last.epoch, average.epoch) == (False, True, 2, 2)
    assert best.averaged is read_json(folder.record)["best_is_average"]
    record = read_jsonl(folder.metrics)[-1]
    assert (last.val_robust, average.val_robust) == (record["val_robust"], record["val_average_robust"])
    assert not same_state(average.state, last.state)
