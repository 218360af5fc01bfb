"""An attack goes on from any of its steps with the same bits, verdicts and passes as one never stopped."""

import copy

import pytest
import torch
from small_nets import Counted, conv_net, labelled

from attacks import APGD, FGSM, PGD, APGDTargeted, Bookmark, Ensemble, Square, ThreatModel, TorchAttack

LINF, L2 = ThreatModel("Linf", 0.03), ThreatModel("L2", 0.2)
ATTACKS = {
    "fgsm": FGSM(LINF),
    "pgd": PGD(LINF, steps=5),
    "restarts": PGD(LINF, steps=3, restarts=3),
    "momentum": PGD(L2, steps=4, restarts=2, momentum=0.9),
    "apgd": APGD(LINF, steps=10, restarts=2),
    "apgd in L2": APGD(L2, steps=10),
    "targeted": APGDTargeted(LINF, steps=5, targets=3),
    "square": Square(LINF, queries=12, restarts=2),
    "square in L2": Square(L2, queries=12),
    "foreign": TorchAttack(LINF, "PGD", steps=2),
    "ensemble": Ensemble(
        [PGD(LINF, steps=2), APGDTargeted(LINF, steps=3, targets=2), Square(LINF, queries=5)]
    ),
    "nested": Ensemble([Ensemble([FGSM(LINF), PGD(LINF, steps=3)]), TorchAttack(LINF, "FGSM")]),
}
BLOCK = 8


@pytest.fixture(scope="module")
def task():
    net = conv_net(6, 6, 5)
    images, labels = labelled(net, 20, 6, 6)
    return net.float(), images.float(), labels


def states_of(run):
    """The states at each offer, and the result."""
    taken = []
    result = run(Bookmark(offer=lambda states: taken.append(copy.deepcopy(states()))))
    return taken, result


def same(one, other):
    return (one is None and other is None) or torch.equal(one, other)


@pytest.mark.parametrize("stop", [True, False], ids=["stops", "to the end"])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["nhwc", "nchw"])
@pytest.mark.parametrize("name", ATTACKS)
def test_going_on_from_any_step_gives_the_same_result(name, stop, layout, task):
    net, images, labels = task
    net, images = net.to(memory_format=layout), images.contiguous(memory_format=layout)
    attack, counted = ATTACKS[name], Counted(net)

    def run(mark=None):
        return attack.run(counted, images, labels, seed=3, stop_when_broken=stop, block=BLOCK, mark=mark)

    whole = run()
    passes = counted.passes
    taken, marked = states_of(run)
    assert len(taken) > 1 or name == "fgsm"
    assert torch.equal(marked.images, whole.images)
    for states in taken:
        counted.forwards = counted.backwards = 0
        again = run(Bookmark(states))
        assert torch.equal(again.images, whole.images)
        assert again.images.stride() == whole.images.stride()
        assert same(again.broken, whole.broken)
        assert same(again.by, whole.by)
        assert (again.forwards, again.backwards) == (whole.forwards, whole.backwards)
        assert again.outside == whole.outside
        if name in ("foreign", "nested"):  # whose states are those of a block's beginning
            continue
        # what was done before is not done again
        assert counted.forwards == passes[0] - states[0]["forwards"]
        assert counted.backwards == passes[1] - states[0]["backwards"]


def test_a_step_is_offered_before_each_gradient(task):
    net, images, labels = task
    attack = PGD(LINF, steps=5, restarts=2)
    taken, _ = states_of(lambda mark: attack.run(net, images, labels, mark=mark))
    assert [(states[1]["restart"], states[2]["step"]) for states in taken] == [
        (restart, step) for restart in range(2) for step in range(5)
    ]


def test_what_is_forgotten_begins_anew(task):
    net, images, labels = task
    attack = PGD(LINF, steps=3)
    taken, whole = states_of(lambda mark: attack.run(net, images, labels, mark=mark))
    mark = Bookmark(taken[2])
    mark.forget()
    assert attack.run(net, images, labels, mark=mark).forwards == whole.forwards


ODD = {
    "a name": lambda state: state.pop("step"),
    "a shape": lambda state: state.update(current=torch.zeros(20)),
    "a type": lambda state: state.update(step="4"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_does_not_fit_begins_anew(odd, task):
    net, images, labels = task
    attack = PGD(LINF, steps=3)
    taken, whole = states_of(lambda mark: attack.run(net, images, labels, mark=mark))
    ODD[odd](taken[2][-1])
    assert torch.equal(attack.run(net, images, labels, mark=Bookmark(taken[2])).images, whole.images)


def test_what_was_kept_can_be_gone_on_from_again(task):
    net, images, labels = task
    attack = ATTACKS["ensemble"]
    taken, whole = states_of(lambda mark: attack.run(net, images, labels, mark=mark))
    for _ in range(2):
        for states in taken:
            assert torch.equal(attack.run(net, images, labels, mark=Bookmark(states)).broken, whole.broken)
