"""Two processes that share a training end with the weights of one, to the rounding of float64."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from parallel_nets import DoubleNet, OwnNorm, OwnStatistics, RandomDepth, WithSpare, drifts
from torch import nn
from training_case import EveryState, half_mask, train

from robust_tickets.base import followers, signals
from robust_tickets.base.errors import InputError
from robust_tickets.base.followers import LostProcessError, end_followers, process_group
from robust_tickets.base.machine import Machine
from robust_tickets.base.process_group import ALONE
from robust_tickets.base.progress import SilentProgress
from robust_tickets.models.fold import FoldedNet
from robust_tickets.recipe.methods import METHODS
from robust_tickets.recipe.training_fields import Train
from robust_tickets.training.monitors import DivergedError

CLOSE = 1e-10


@pytest.fixture(scope="module", autouse=True)
def _ended():
    yield
    end_followers()


@pytest.fixture
def group():
    return process_group(["cpu", "cpu"])


@pytest.fixture
def shared_config(config):
    settings = Train(method="pgd", pgd=config.settings.pgd, epochs=2, batch=64, lr=0.02)
    return replace(config, settings=settings, steps=4, average=0.9, average_batches=2)


def same(one, other):
    pairs = [(one.last, other.last), (one.best, other.best), (one.average or {}, other.average or {})]
    return all(
        first.keys() == second.keys()
        and all(float((first[n].double() - second[n].double()).abs().max()) < CLOSE for n in first)
        for first, second in pairs
    )


def both_ways(net, data, config, group, mask=None, **session):
    """The results and ledgers of one process and of two."""
    alone = train(net(), mask and mask(net()), data, config, **session)
    shared = train(net(), mask and mask(net()), data, config, group=group, **session)
    return alone, shared


@pytest.mark.parametrize("name", [name for name in METHODS if name != "nuat"])
def test_every_method_ends_with_the_weights_and_passes_of_one_process(name, tiny_data, shared_config, group):
    settings = replace(shared_config.settings, method=name, label_smoothing=0.2, smoothing="random")
    config = replace(shared_config, settings=settings)
    (one, ledger), (two, shared) = both_ways(DoubleNet, tiny_data, config, group, half_mask)
    assert same(one, two)
    assert ledger.report()["passes"] == shared.report()["passes"]
    assert one.history[-1]["val_robust"] == two.history[-1]["val_robust"]
    assert one.history[-1]["train_loss"] == pytest.approx(two.history[-1]["train_loss"], abs=CLOSE)
    assert all(bool((two.last[name][~kept] == 0).all()) for name, kept in half_mask(DoubleNet()).items())


WRAPPED = {
    "awp": ("pgd", {"awp.gamma": 0.01}),
    "dst": ("pgd", {"dst.share": 0.3, "dst.interval": 1}),
    "curriculum": ("pgd", {"curriculum.share": 0.5}),
    "pgd on collapse": ("fgsm", {"overfitting": "pgd", "overfitting_steps": 2}),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_every_wrapper_does_too(case, tiny_data, shared_config, group):
    method, fields = WRAPPED[case]
    settings = replace(shared_config.settings, method=method)
    for path, value in fields.items():
        part, _, name = path.rpartition(".")
        value = replace(getattr(settings, part), **{name: value}) if part else value
        settings = replace(settings, **{part or name: value})
    config = replace(shared_config, settings=settings)
    (one, ledger), (two, shared) = both_ways(DoubleNet, tiny_data, config, group, half_mask)
    assert same(one, two)
    assert ledger.charged_passes == shared.charged_passes


@pytest.mark.parametrize("name", ["pgi", "free", "bullet", "pgd"])
@pytest.mark.parametrize("begins_shared", [True, False])
def test_a_state_goes_on_with_another_number_of_processes(
    name, begins_shared, tiny_data, shared_config, group
):
    config = replace(shared_config, settings=replace(shared_config.settings, method=name))
    alone, both = {}, {"group": group}
    first, then = (both, alone) if begins_shared else (alone, both)
    states = EveryState(minutes=1.0)
    whole, _ = train(DoubleNet(), None, tiny_data, config, checkpointer=states, **first)
    for saved in (states.states[1], states.states[3]):  # within an epoch, and among the last images
        resumed, _ = train(DoubleNet(), None, tiny_data, config, saved=saved, **then)
        assert same(whole, resumed)


def test_scores_are_trained_by_the_leader_and_shared(tiny_data, shared_config, group):
    from robust_tickets.pruning.layers import prunable_weights
    from robust_tickets.tickets.score_training import WeightScores, drawn_scores

    config = replace(shared_config, average=0.0)

    def found(**session):
        net = DoubleNet()
        weights = prunable_weights(net)
        counts = {name: weight.numel() // 2 for name, weight in weights.items()}
        scores = WeightScores(net, drawn_scores(weights, 0), counts, 0.0)
        train(net, None, tiny_data, config, hook=scores, optimiser=scores.optimiser, **session)
        return scores.mask

    one, two = found(), found(group=group)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_parameters_that_nothing_uses_are_not_waited_for(tiny_data, shared_config, group):
    (one, _), (two, _) = both_ways(WithSpare, tiny_data, replace(shared_config, average=0.0), group)
    del one.last["spare.weight"], two.last["spare.weight"], one.last["spare.bias"], two.last["spare.bias"]
    assert float((one.last["head.bias"] - two.last["head.bias"]).abs().max()) < CLOSE


def test_networks_that_come_apart_are_noticed(tiny_data, shared_config, group):
    with pytest.raises(InputError, match=r"head\.bias differs between devices"):
        train(drifts(DoubleNet()), None, tiny_data, replace(shared_config, average=0.0), group=group)


def test_what_devices_cannot_share_is_refused(tiny_data, shared_config, group):
    def refused(net, match, **fields):
        config = replace(shared_config, settings=replace(shared_config.settings, **fields))
        with pytest.raises(InputError, match=match):
            train(net, None, tiny_data, config, group=group)

    refused(DoubleNet(), "batch 63 does not divide among 2 devices", batch=63)
    refused(DoubleNet(), "loss of method nuat is of a whole batch", method="nuat")
    own, without = DoubleNet(), DoubleNet()
    own.norm = OwnNorm(4).double()
    refused(own, "layer norm is a OwnNorm")
    without.norm2 = nn.BatchNorm2d(4, track_running_stats=False).double()
    refused(without, "layer norm2 keeps no running statistics")
    switched_off = DoubleNet()
    switched_off.norm.track_running_stats = False
    refused(switched_off, "layer norm keeps no running statistics")
    hooked = DoubleNet()
    hooked.head.register_forward_hook(lambda *_: None)
    refused(hooked, "cannot be sent to the processes of other devices")
    assert process_group(["cpu", "cpu"]) is group


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (RandomDepth, "leaves out some of its layers in some steps"),
        (OwnStatistics, "depend on the other images of its batch"),
    ],
)
def test_networks_that_shares_would_change_are_refused(kind, words, tiny_data, shared_config, group):
    with pytest.raises(InputError, match=words):
        train(kind(), None, tiny_data, shared_config, group=group)


def test_a_training_that_diverges_ends_in_all_and_the_next_one_runs(tiny_data, shared_config, group):
    config = replace(shared_config, settings=replace(shared_config.settings, lr=1e30))
    with pytest.raises(DivergedError, match="diverged at step"):
        train(DoubleNet(), None, tiny_data, config, group=group)
    assert process_group(["cpu", "cpu"]) is group
    (one, _), (two, _) = both_ways(DoubleNet, tiny_data, shared_config, group)
    assert same(one, two)


def test_an_error_of_the_leader_alone_ends_the_others(tiny_data, shared_config, group):
    def full(history):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        train(DoubleNet(), None, tiny_data, shared_config, group=group, on_epoch=full)
    again = process_group(["cpu", "cpu"])
    assert again is not group
    train(DoubleNet(), None, tiny_data, shared_config, group=again)


@pytest.mark.parametrize("place", ["validation", "backward", "epoch"])
def test_a_process_that_is_killed_is_told_of_and_replaced(
    place, tiny_data, shared_config, group, monkeypatch
):
    child = followers._state.local._children[0][0]

    def kill(*arguments):
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        monkeypatch.undo()

    if place == "validation":  # the first thing that the leader does there
        monkeypatch.setattr(FoldedNet, "refresh", kill)
    elif place == "backward":
        monkeypatch.setattr(torch.Tensor, "backward", lambda loss: (kill(), loss.backward()))
    on_epoch = kill if place == "epoch" else lambda history: None
    with pytest.raises(LostProcessError, match=r"process of device cpu has ended: status -9: give the same"):
        train(DoubleNet(), None, tiny_data, shared_config, group=group, on_epoch=on_epoch)
    train(DoubleNet(), None, tiny_data, shared_config, group=process_group(["cpu", "cpu"]))


def test_a_stop_saves_the_state_of_all(tiny_data, shared_config, group):
    config = replace(shared_config, settings=replace(shared_config.settings, method="free"))
    whole, _ = train(DoubleNet(), None, tiny_data, config)
    stopping, states = [False], EveryState()

    class Stopping(EveryState):
        def due(self, step):
            stopping[0] = step == 3
            return stopping[0]

        def save(self, step, state):
            states.save(step, state)

    with pytest.raises(signals.StopRequest), signals.listening(lambda: stopping[0]):
        train(DoubleNet(), None, tiny_data, config, group=group, checkpointer=Stopping())
    resumed, _ = train(DoubleNet(), None, tiny_data, config, saved=states.states[0])
    assert same(whole, resumed)


def test_a_group_of_the_user_s_own_is_left_alone(monkeypatch, tmp_path):
    import torch.distributed as distributed

    end_followers()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with pytest.raises(InputError, match="this process has called torch"):
            process_group(["cpu", "cpu"])
        assert distributed.is_initialized()
        # as in each process of a script that torchrun has started
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        assert Machine("cpu", SilentProgress()).process_group() is ALONE
    finally:
        distributed.destroy_process_group()


def test_a_process_that_cannot_start_is_told_of(monkeypatch, tmp_path):
    end_followers()
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="process of device cpu has ended: ImportError: no torch here"):
        process_group(["cpu", "cpu"])
