"""A training that is stopped between two steps and goes on ends with the bits of one that was not."""

import copy
from dataclasses import replace

import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.pruning.criteria import prune
from robust_tickets.pruning.mask import Mask, prunable
from robust_tickets.pruning.scores import SCORES
from robust_tickets.stages.checkpointer import Checkpointer, CheckpointInterval, remove_states
from robust_tickets.stages.state_files import TRAINING
from robust_tickets.training.loop import fit

STEPS = 8  # two epochs of four


def trained(net, mask, data, how, **given):
    ledger = Ledger("train")
    with ledger.measure():
        if "state" in given:
            ledger.add_report(given["state"].ledger)
        fitted = fit(net, mask, data, how, ledger, StageProgress(), **given)
    return fitted, ledger


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def half(net):
    mask = Mask.full(net)
    return prune(SCORES["magnitude-over-layer-mean"](prunable(net), mask), mask, 0.5)


SETTINGS = {
    "sgd": {},
    "adam": {"optimiser": "adam", "lr": 0.001},
    "no momentum": {"momentum": 0.0},
    "natural": {"method": "natural"},
}


@pytest.fixture(params=[True, False], ids=["channels last", "contiguous"])
def layout(request):
    return request.param


@pytest.mark.parametrize("masked", [False, True], ids=["dense", "masked"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_going_on_from_any_step_gives_the_same_bits(
    settings, masked, layout, conv_net, tiny_data, how, tmp_path
):
    how = replace(
        how,
        settings=replace(how.settings, **SETTINGS[settings]),
        compute=replace(how.compute, channels_last=layout),
    )
    if layout:
        conv_net = conv_net.to(memory_format=torch.channels_last)
    mask = half(conv_net) if masked else None
    begin, states = copy.deepcopy(conv_net), []
    whole, account = trained(
        conv_net, mask, tiny_data, how, keep=2, offer=lambda step, make: states.append(make())
    )
    # before each step, and several within each epoch's validation
    assert [state.step for state in states if not state.validation] == list(range(8))
    assert [state.step for state in states if state.validation] == [4] * 4 + [8] * 4
    for state in states[1::2] + states[-1:]:
        saves = Checkpointer(tmp_path, TRAINING, {"of": "this"}, CheckpointInterval(), print)
        saves.keep(state.step, state)
        kept = saves.newest()
        net = copy.deepcopy(begin)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(1.0)  # whatever is there before does not matter
        again, ledger = trained(net, mask, tiny_data, how, keep=2, state=kept)
        assert equal(again.best, whole.best)
        assert equal(again.last, whole.last)
        assert equal(again.early, whole.early)
        assert (again.best_epoch, again.history) == (whole.best_epoch, whole.history)
        assert (ledger.passes, ledger.flops) == (account.passes, account.flops)
        remove_states(tmp_path)
    assert not tmp_path.exists()


def states_of(net, data, how):
    states = []
    trained(net, None, data, how, offer=lambda step, make: states.append(make()))
    return states


def test_the_last_two_states_are_kept_and_a_damaged_one_is_passed_over(conv_net, tiny_data, how, tmp_path):
    said = []
    saves = Checkpointer(tmp_path, TRAINING, {}, CheckpointInterval(), said.append)
    for state in states_of(conv_net, tiny_data, how)[:3]:
        saves.keep(state.step, state)
    one, two = sorted(tmp_path.iterdir())
    assert saves.newest().step == 2
    two.write_bytes(two.read_bytes()[:-5])
    assert saves.newest().step == 1
    assert two.name in said[0]
    one.write_bytes(b"")
    assert saves.newest() is None


def test_what_lies_beyond_the_newest_whole_state_goes(conv_net, tiny_data, how, tmp_path):
    """So that a damaged one does not stand for one of the two that are kept."""
    saves = Checkpointer(tmp_path, TRAINING, {}, CheckpointInterval(), print)
    states = states_of(conv_net, tiny_data, how)
    for number in (1, 3):
        saves.keep(number, states[number])
    damaged = max(tmp_path.iterdir())
    damaged.write_bytes(b"")
    saves.keep(2, states[2])
    assert not damaged.exists()
    assert [saves.newest().step, len(list(tmp_path.iterdir()))] == [2, 2]


def test_a_state_of_something_else_is_not_taken(conv_net, tiny_data, how, tmp_path):
    Checkpointer(tmp_path, TRAINING, {"seed": 0}, CheckpointInterval(), print).keep(
        0, states_of(conv_net, tiny_data, how)[0]
    )
    assert Checkpointer(tmp_path, TRAINING, {"seed": 1}, CheckpointInterval(), print).newest() is None


def test_a_state_that_does_not_fit_is_refused(conv_net, tiny_data, how):
    state = states_of(conv_net, tiny_data, how)[1]
    odd = replace(state, moments={"99999/momentum_buffer": torch.zeros(1)})
    with pytest.raises(InputError, match="no parameter 99999"):
        trained(conv_net, None, tiny_data, how, state=odd)
    odd = replace(state, net={"conv1.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="does not fit the net"):
        trained(conv_net, None, tiny_data, how, state=odd)


@pytest.mark.parametrize(
    ("every", "kept"),
    [
        (CheckpointInterval(minutes=0, steps=0), []),
        (CheckpointInterval(minutes=0, steps=3), [3, 6]),
        (CheckpointInterval(minutes=1e-9), range(9)),
    ],
)
def test_a_state_is_kept_as_often_as_asked_for(every, kept, conv_net, tiny_data, how, tmp_path, monkeypatch):
    saves, steps = Checkpointer(tmp_path, TRAINING, {}, every, print), []
    monkeypatch.setattr(
        saves, "keep", lambda step, state, keep=saves.keep: (steps.append(step), keep(step, state))
    )
    trained(conv_net, None, tiny_data, how, offer=saves.offer)
    assert sorted(set(steps)) == list(kept)
