"""What is kept of an evaluation comes back as it was: values, types, and the order of its memory."""

import pytest
import torch

from robust_tickets.stages.saves import Every, Saves
from robust_tickets.stages.states import EVALUATION

IMAGES = torch.rand(5, 3, 4, 6)
LEVELS = [
    {"columns": [{"attack": "pgd-20", "members": []}], "verdicts": torch.zeros(2, 5, dtype=torch.int8)},
    {"seconds": 1.5, "attack": "é", "velocity": None},
    {"current": IMAGES.contiguous(memory_format=torch.channels_last), "best": IMAGES, "done": True},
    {"losses": torch.full((5,), -torch.inf, dtype=torch.float64), "empty": torch.empty(0, 9)},
]


def test_levels_come_back_as_they_were(tmp_path):
    saves = Saves(tmp_path, EVALUATION, {"eps": "8/255"}, Every(), print)
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
    Saves(tmp_path, EVALUATION, {"eps": "8/255"}, Every(), print).keep(7, LEVELS)
    assert Saves(tmp_path, EVALUATION, other, Every(), print).newest() is None
