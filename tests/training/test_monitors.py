"""What the monitors of a training see, and that they see nothing where nothing is wrong."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from training_case import train

from robust_tickets.base.errors import InputError, RobustnessWarning
from robust_tickets.base.progress import StageProgress
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.masking import Masking
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.methods.pgd import PGDSettings
from robust_tickets.training.monitors import (
    DivergedError,
    FiniteMonitor,
    Monitor,
    PaceMonitor,
    collapsed_class,
    not_finite,
    overfitted,
)


class BrokenLayer(nn.Module):
    """A layer that from its n-th call on gives, or sends back, a value that is not finite."""

    def __init__(self, calls, where):
        super().__init__()
        self.left, self.where = calls, where

    def forward(self, x):
        self.left -= self.training
        if self.left > 0:
            return x
        if self.where == "forward":
            return x / 0
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * float("nan"))
        return x


def broken_net(where, calls):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 20), BrokenLayer(calls, where), nn.ReLU(), nn.Linear(20, 10)
        )


NATURAL = {"method": "natural"}


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("forward", "the loss is not finite, and the output of 2 is not finite"),
        ("backward", "the gradient of 1.bias is not finite"),
    ],
)
@pytest.mark.parametrize("calls", [1, 6])
def test_step_and_layer_are_named_where_values_are_not_finite(where, words, calls, tiny_data, config):
    config = replace(config, settings=replace(config.settings, **NATURAL))
    with pytest.raises(DivergedError) as error:
        train(broken_net(where, calls), None, tiny_data, config)
    message = str(error.value)
    assert f"diverged at step {calls - 1}, at a learning rate of" in message
    assert words in message
    assert "lower the learning rate" in message


def test_what_is_looked_at_late_is_what_came_first():
    """As on a GPU, where nobody waits for an answer at each step."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    finite = FiniteMonitor(net)
    assert finite.first() is None
    for step in range(6):
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, float("nan") if step >= 4 else 0.0)
        net[1].weight.grad = torch.full((2, 2), float("inf") if step >= 3 else 0.0)
        finite.observe(step, torch.tensor(float("nan") if step >= 4 else 0.0))
    assert finite.first() == (3, "the gradient of 1.weight")


@pytest.mark.parametrize(
    ("gradient", "finite"),
    [([3e38, 3e38], True), ([float("inf"), -float("inf")], False), ([float("nan"), 1.0], False)],
    ids=["a sum that overflows", "inf less inf", "nan"],
)
def test_gradients_are_judged_by_each_of_their_numbers(gradient, finite):
    net = nn.Linear(2, 1, bias=False)
    net.weight.grad = torch.tensor([gradient])
    monitor = FiniteMonitor(net)
    monitor.observe(0, torch.tensor(1.0))
    assert (monitor.first() is None) == finite


def test_parameters_come_before_layers():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert not_finite(net, torch.ones(1, 2)) == ""
    with torch.no_grad():
        net[0].bias[1] = float("inf")
    assert not_finite(net, torch.ones(1, 2)) == "0.bias is not finite"


def history(*records):
    return [
        {"epoch": n, "val_robust": robust} | ({} if fgsm is None else {"val_fgsm": fgsm})
        for n, (robust, fgsm) in enumerate(records, 1)
    ]


@pytest.mark.parametrize(
    ("records", "images", "expected"),
    [
        ([(0.4, 0.5), (0.05, 0.8)], 500, True),
        ([(0.4, 0.5), (0.05, 0.5)], 500, True),
        ([(0.4, 0.5), (0.05, 0.3)], 500, False),  # the network just got worse
        ([(0.4, 0.5), (0.25, 0.8)], 500, False),  # less than half is not lost
        ([(0.2, 0.2), (0.05, 0.3)], 20, False),  # of 20 images that is chance
        ([(0.12, 0.2), (0.0, 0.3)], 500, False),  # no more than a network gets that says one class
        ([(0.4, 0.5)], 500, False),
        ([(0.1, 0.2), (0.4, 0.5), (0.1, 0.9)], 500, True),
        ([(0.4, None), (0.0, None)], 500, False),  # FGSM was not measured
    ],
)
def test_catastrophic_overfitting_is_robustness_to_fgsm_while_that_to_pgd_is_lost(records, images, expected):
    assert overfitted(history(*records), torch.arange(images) % 10) is expected


def test_a_net_that_gets_one_class_alone_collapsed():
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    assert collapsed_class(labels == 1, labels) == 1
    assert collapsed_class(labels > 0, labels) is None
    assert collapsed_class(labels < 0, labels) is None
    one_class = torch.tensor([3, 3])
    assert collapsed_class(torch.tensor([True, False]), one_class) is None


@pytest.mark.parametrize(
    ("clean", "last", "epochs"),
    [([0.1, 0.1], False, []), ([0.1, 0.1], True, [2]), ([0.5, 0.1], False, [2]), ([0.15, 0.1], False, [])],
)
def test_a_net_collapsed_where_it_got_more_before_and_at_the_end(clean, last, epochs, conv_net):
    labels = torch.arange(10)
    monitor = Monitor(conv_net, "train", StageProgress(), lambda step: 0.1)
    records = [{"epoch": n, "val_clean": share} for n, share in enumerate(clean, 1)]
    monitor.check_collapse(records, labels == 3, labels, last)
    assert monitor.warnings == [
        f"epoch {n}: the net collapsed: of the validation images only class 3 is right" for n in epochs
    ]


def test_the_first_slow_epoch_is_told_and_each_time_anew():
    pace, seconds = PaceMonitor(), [10, 11, 16, 20, 10, 30]
    pace.begin(5.0, 7, 3)
    slow = [pace.slowed(5 + sum(seconds[:n]), 7 + 100 * n, 3 + 10 * n) for n in range(1, 7)]
    assert slow == [None, None, 1.6, None, None, 3.0]
    assert pace.slowed(1000.0, 607, 63) is None  # no step was taken


def test_steps_that_cost_more_have_a_pace_of_their_own():
    pace, seconds, work = PaceMonitor(), [10, 30, 32, 50, 10, 16], [100, 260, 270, 260, 100, 100]
    pace.begin(0.0, 0, 0)
    slow = [pace.slowed(sum(seconds[:n]), sum(work[:n]), 10 * n) for n in range(1, 7)]
    assert slow == [None, None, None, 50 / 30, None, 1.6]


def test_a_pruned_weight_that_comes_back_is_an_error(conv_net):
    mask = Mask({name: torch.zeros_like(entries) for name, entries in Mask.full(conv_net).items()})
    masking = Masking(conv_net, mask, {})
    with pytest.raises(InputError, match=r"pruned weights are no longer zero, in a layer of"):
        masking.check()
    masking.mask_parameters()
    masking.check()


@pytest.fixture
def overfitting_seen(monkeypatch):
    """Let the monitor see catastrophic overfitting in one epoch."""
    monkeypatch.setattr(
        "robust_tickets.training.monitors.overfitted", lambda history, labels: history[-1]["epoch"] == 2
    )


@pytest.fixture
def fgsm_config(config):
    return replace(config, steps=16, settings=replace(config.settings, method="fgsm", epochs=4))


def test_overfitting_is_warned_of_and_the_training_goes_on(
    conv_net, tiny_data, fgsm_config, overfitting_seen
):
    result, _ = train(conv_net, None, tiny_data, fgsm_config)
    assert [record["epoch"] for record in result.history] == [1, 2, 3, 4]
    assert result.last_epoch == 4
    (warning,) = [text for text in result.warnings if "catastrophic" in text]
    assert warning.startswith("epoch 2: catastrophic overfitting: ")
    assert all({"val_fgsm", "val_robust"} <= record.keys() for record in result.history)


def test_pgd_of_one_step_is_watched_like_fgsm_and_of_two_is_not(conv_net, tiny_data, config):
    for steps, watched in ((1, True), (2, False)):
        settings = replace(config.settings, pgd=PGDSettings(steps=steps, rel_step=1.25), epochs=1)
        config = replace(config, steps=4, settings=settings)
        result, _ = train(copy.deepcopy(conv_net), None, tiny_data, config)
        assert ("val_fgsm" in result.history[-1]) is watched


def test_where_asked_it_goes_back_to_the_best_epoch_and_ends(
    conv_net, tiny_data, fgsm_config, overfitting_seen
):
    back = replace(fgsm_config, settings=replace(fgsm_config.settings, overfitting="restore-best"))
    result, ledger = train(conv_net, None, tiny_data, back)
    assert [record["epoch"] for record in result.history] == [1, 2]
    assert result.last_epoch == result.best_epoch
    assert all(torch.equal(result.last[name], result.best[name]) for name in result.best)
    assert all(torch.equal(value, result.best[name]) for name, value in conv_net.state_dict().items())
    assert ledger.passes["update"].forward == 8 * 32


def test_an_honest_training_has_no_warnings(conv_net, tiny_data, config, monkeypatch):
    # other work on the machine is not the law
    monkeypatch.setattr("robust_tickets.training.monitors._SLOW", 1e9)
    more = replace(config, steps=16, settings=replace(config.settings, epochs=4, **NATURAL))
    result, _ = train(conv_net, None, tiny_data, more)
    assert not [text for text in result.warnings if "collapsed" not in text]


def test_warnings_stand_in_the_account(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("robust_tickets.training.monitors.collapsed_class", lambda robust, labels: 7)
    run = RunDirectory.of(tmp_path, tiny_recipe)
    ticket = search_stage.search(Experiment(tiny_recipe), 0, run)
    warnings = json.loads(ticket.with_name("ledger.json").read_text(encoding="utf-8"))["warnings"]
    assert [text[:36] for text in warnings] == [f"round {n}, epoch 2: the net collapsed:" for n in (1, 2)]


def test_from_python_they_are_warnings(tiny_recipe, monkeypatch):
    import robust_tickets as rt

    monkeypatch.setattr("robust_tickets.training.monitors.collapsed_class", lambda robust, labels: 7)
    with pytest.warns(RobustnessWarning) as caught:
        rt.train(recipe=tiny_recipe)
    texts = [str(warning.message) for warning in caught]
    assert any(text.startswith("a warning of this training: epoch 3: the net collapsed") for text in texts)
