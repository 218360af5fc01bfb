"""A training that is stopped between two steps and resumed ends with the bits of one that was not."""

import copy
import itertools
import signal
from dataclasses import replace

import pytest
import torch
from training_case import EveryState, half_mask, same_state, train

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.evaluation import evaluate
from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.training_fields import Train
from robust_tickets.training.checkpointer import Checkpointer, remove_states
from robust_tickets.training.methods.bullet import BulletSettings
from robust_tickets.training.methods.free import FreeSettings
from robust_tickets.training.methods.liet import LIETSettings
from robust_tickets.training.methods.pgi import PGISettings
from robust_tickets.training.methods.trades import TRADESSettings
from robust_tickets.training.wrappers.awp import AWPSettings
from robust_tickets.training.wrappers.curriculum import CurriculumSettings
from robust_tickets.training.wrappers.dst import DSTSettings

SETTINGS = {
    "sgd": {},
    "adam": {"optimiser": "adam", "lr": 0.001},
    "muon": {"optimiser": "muon"},
    "no momentum": {"momentum": 0.0},
    "natural": {"method": "natural"},
    "trades": {"method": "trades", "trades": TRADESSettings(steps=2)},
    "nfgsm": {"method": "nfgsm"},
    "sora": {"method": "sora"},
    "pgi": {"method": "pgi", "pgi": PGISettings(reset=1)},
    "liet": {"method": "liet", "liet": LIETSettings(refresh=3, constant_start=True)},
    "bullet": {"method": "bullet", "bullet": BulletSettings(steps=3, rel_step=0.5)},
    "nuat": {"method": "nuat"},
    "free": {"method": "free", "free": FreeSettings(replays=3)},
    "smoothing": {"label_smoothing": 0.3, "smoothing": "random"},
    "awp": {"method": "pgi", "awp": AWPSettings(gamma=0.01, warmup=0.5)},
    "curriculum": {"method": "pgi", "curriculum": CurriculumSettings(0.5, steps=2)},
    "memory": {"method": "made_up"},
    "dst": {"dst": DSTSettings(0.6, interval=2, end=0.0)},
    "dst, random": {"awp": AWPSettings(gamma=0.01), "dst": DSTSettings(0.6, "random", interval=3, end=0.0)},
}


LAYOUTS = {"channels last": True, "contiguous": False}
FAST_METHODS = (
    "sora",
    "pgi",
    "liet",
    "nuat",
    "free",
    "bullet",
    "smoothing",
    "awp",
    "curriculum",
    "dst",
    "dst, random",
)
"""Tried in one case; the other three are slow tests."""


def cases():
    """Settings, whether masked, and whether channels last."""
    for name, masked, layout in itertools.product(SETTINGS, (False, True), LAYOUTS):
        if name.startswith("dst") and not masked:
            continue  # there is nothing to move
        is_slow = name in FAST_METHODS and not (masked and LAYOUTS[layout])
        marks = [pytest.mark.slow] if is_slow else []
        label = f"{name}-{'masked' if masked else 'dense'}-{layout}"
        yield pytest.param(name, masked, LAYOUTS[layout], id=label, marks=marks)


@pytest.mark.parametrize(("settings", "masked", "channels_last"), list(cases()))
def test_resuming_from_any_step_gives_the_same_bits(
    settings, masked, channels_last, conv_net, tiny_data, config, tmp_path, monkeypatch
):
    monkeypatch.setitem(METHODS, "made_up", "made_up:MadeUp")
    config = replace(
        config,
        settings=Train(**(vars(config.settings) | SETTINGS[settings])),
        compute=replace(config.compute, channels_last=channels_last),
        early_step=2,
    )
    if channels_last:
        conv_net = conv_net.to(memory_format=torch.channels_last)
    mask = half_mask(conv_net) if masked else None
    start, every = copy.deepcopy(conv_net), EveryState()
    whole, account = train(conv_net, mask, tiny_data, config, checkpointer=every)
    steps = [state["step"] for state in every.states]
    assert set(steps) == set(range(9))  # before each step, and within the validation after the last
    for state in [every.states[steps.index(step)] for step in (1, 4, 6, 8)]:
        checkpointer = Checkpointer(tmp_path, {"of": "this"})
        checkpointer.save(state["step"], state)
        net = copy.deepcopy(start)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(1.0)  # the weights before resuming do not matter
        again, ledger = train(net, mask, tiny_data, config, saved=checkpointer.newest())
        assert same_state(again.best, whole.best)
        assert same_state(again.last, whole.last)
        assert same_state(again.early, whole.early)
        assert (again.best_epoch, again.history) == (whole.best_epoch, whole.history)
        assert (ledger.passes, ledger.flops) == (account.passes, account.flops)
        remove_states(tmp_path)
    assert not tmp_path.exists()


def states_of(net, data, config):
    every = EveryState()
    train(net, None, data, config, checkpointer=every)
    return every.states


def test_two_states_are_kept_and_a_damaged_one_is_passed_over(conv_net, tiny_data, config, tmp_path, spoken):
    checkpointer = Checkpointer(tmp_path, progress=spoken)
    for state in states_of(conv_net, tiny_data, config)[:3]:
        checkpointer.save(state["step"], state)
    one, two = sorted(tmp_path.iterdir())
    assert checkpointer.newest()["step"] == 2
    two.write_bytes(two.read_bytes()[:-5])
    assert checkpointer.newest()["step"] == 1
    assert two.name in spoken.lines[0]
    one.write_bytes(b"")
    assert checkpointer.newest() is None


def test_a_damaged_file_of_a_later_step_is_removed(conv_net, tiny_data, config, tmp_path):
    """So that it does not count as one of the two that are kept."""
    checkpointer = Checkpointer(tmp_path)
    states = states_of(conv_net, tiny_data, config)
    for number in (1, 3):
        checkpointer.save(number, states[number])
    damaged = max(tmp_path.iterdir())
    damaged.write_bytes(b"")
    checkpointer.save(2, states[2])
    assert not damaged.exists()
    assert [checkpointer.newest()["step"], len(list(tmp_path.iterdir()))] == [2, 2]


def test_a_state_of_another_training_is_passed_over(conv_net, tiny_data, config, tmp_path):
    Checkpointer(tmp_path, {"seed": 0}).save(0, states_of(conv_net, tiny_data, config)[0])
    assert Checkpointer(tmp_path, {"seed": 1}).newest() is None


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("optimiser", {"99999/momentum_buffer": torch.zeros(1)}, "no parameter 99999"),
        ("net", {"conv1.weight": torch.zeros(1)}, "does not fit the net"),
        ("method", {"memory": torch.zeros(1)}, "does not fit the method PGD"),
        ("history", 3, "does not fit this training"),
        ("loss_sum", torch.zeros(2), "does not fit this training"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(part, value, words, conv_net, tiny_data, config):
    state = states_of(conv_net, tiny_data, config)[1]
    with pytest.raises(InputError, match=words):
        train(conv_net, None, tiny_data, config, saved={**state, part: value})


@pytest.mark.parametrize(
    ("folder", "minutes", "steps", "saved"),
    [("states", 0, 0, []), ("states", 0, 3, [3, 6]), ("states", 1e-9, 0, range(9)), (None, 1e-9, 0, [])],
)
def test_a_state_is_saved_as_often_as_asked_for(
    folder, minutes, steps, saved, conv_net, tiny_data, config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    checkpointer = Checkpointer(folder and tmp_path / folder, minutes=minutes, steps=steps)
    numbers, save = [], checkpointer.save
    monkeypatch.setattr(checkpointer, "save", lambda *args: (numbers.append(args[0]), save(*args)))
    train(conv_net, None, tiny_data, config, checkpointer=checkpointer)
    assert sorted(set(numbers)) == list(saved)
    assert [path.name for path in tmp_path.iterdir()] == [folder] * (len(saved) > 0)


def test_a_stop_within_a_validation_waits_for_a_chunk_and_validates_again(
    conv_net, tiny_data, config, tmp_path, monkeypatch
):
    whole, _ = train(copy.deepcopy(conv_net), None, tiny_data, config)
    start, chunks = copy.deepcopy(conv_net), []
    real = evaluate.evaluate

    def stopped(*args, advance, **kwargs):
        def counted(*values):
            chunks.append(1)
            if len(chunks) == 3:
                signal.raise_signal(signal.SIGTERM)
            advance(*values)

        return real(*args, advance=counted, **kwargs)

    monkeypatch.setattr("robust_tickets.evaluation.evaluate.evaluate", stopped)
    checkpointer = Checkpointer(tmp_path, minutes=0)
    with (
        signals.handle_signals(),
        pytest.raises(signals.StopRequest),
        signals.deferred(),
    ):
        train(conv_net, None, tiny_data, config, checkpointer=checkpointer)
    monkeypatch.undo()
    assert len(chunks) == 3
    saved = checkpointer.newest()
    assert (saved["step"], saved["history"]) == (4, [])
    again, _ = train(start, None, tiny_data, config, saved=saved)
    assert again.history == whole.history
    assert same_state(again.last, whole.last)
