"""What is kept of an evaluation comes back as it was: values, types, and the order of its memory."""

import pytest
import torch

from attacks import APGD, PGD, APGDTargeted, Bookmark, Ensemble, Square, ThreatModel, TorchAttack
from robust_tickets.stages.checkpointer import Checkpointer, CheckpointInterval
from robust_tickets.stages.state_files import EVALUATION

IMAGES = torch.rand(5, 3, 4, 6)
LEVELS = [
    {"columns": [{"attack": "pgd-20", "members": []}], "verdicts": torch.zeros(2, 5, dtype=torch.int8)},
    {"seconds": 1.5, "attack": "é", "velocity": None},
    {"current": IMAGES.contiguous(memory_format=torch.channels_last), "best": IMAGES, "done": True},
    {"losses": torch.full((5,), -torch.inf, dtype=torch.float64), "empty": torch.empty(0, 9)},
]


def test_levels_come_back_as_they_were(tmp_path):
    saves = Checkpointer(tmp_path, EVALUATION, {"eps": "8/255"}, CheckpointInterval(), print)
    saves.keep(7, LEVELS)
    found = saves.newest()
    for ours, theirs in zip(LEVELS, found, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, theirs[name])
                assert (value.dtype, value.stride()) == (theirs[name].dtype, theirs[name].stride())
            else:
                assert value == theirs[name]


@pytest.mark.parametrize("other", [{"eps": "4/255"}, {}])
def test_those_of_something_else_are_not_taken(other, tmp_path):
    Checkpointer(tmp_path, EVALUATION, {"eps": "8/255"}, CheckpointInterval(), print).keep(7, LEVELS)
    assert Checkpointer(tmp_path, EVALUATION, other, CheckpointInterval(), print).newest() is None


LINF, L2 = ThreatModel("Linf", 0.02), ThreatModel("L2", 0.2)
ATTACKS = {
    "pgd": PGD(LINF, steps=3, restarts=2),
    "momentum": PGD(L2, steps=3, momentum=0.5),
    "apgd": APGD(LINF, steps=12, restarts=2),
    "apgd in L2": APGD(L2, steps=12),
    "targeted": APGDTargeted(LINF, steps=8, targets=2),
    "square": Square(LINF, queries=6, restarts=2),
    "square in L2": Square(L2, queries=6),
    "foreign": TorchAttack(LINF, "PGD", steps=2),
    "ensemble": Ensemble(
        [APGD(LINF, steps=5), APGDTargeted(LINF, steps=4, targets=2), Square(LINF, queries=3)]
    ),
}


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["nhwc", "nchw"])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_goes_on_from_a_file_of_any_of_its_steps(name, layout, tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(64, 5)
    )
    net = net.to(memory_format=layout)
    images = torch.rand(9, 3, 6, 6).contiguous(memory_format=layout)
    labels = net(images).argmax(1)
    saves, kept = Checkpointer(tmp_path, EVALUATION, {}, CheckpointInterval(), print), []

    def keep(states):
        saves.keep(len(kept), states())
        kept.append(saves.newest())

    whole = ATTACKS[name].run(net, images, labels, block=4, mark=Bookmark(offer=keep))
    assert len(kept) > 2
    for states in kept:
        again = ATTACKS[name].run(net, images, labels, block=4, mark=Bookmark(states))
        assert torch.equal(again.images, whole.images)
        assert torch.equal(again.broken, whole.broken)
        assert (again.forwards, again.backwards) == (whole.forwards, whole.backwards)
