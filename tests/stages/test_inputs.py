"""What a run was begun with: fingerprints of the user's own net."""

import pytest
import torch
from torch import nn

from robust_tickets.errors import InputError
from robust_tickets.runs import RunDirectory
from robust_tickets.stages.experiment import fingerprint

SHAPE = (1, 8, 8)


class Net(nn.Module):
    """The same layers and weights, whatever is done between them."""

    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 8, 3)
        self.fc = nn.Linear(288, 3)
        self.activation = [activation]

    def forward(self, images):
        return self.fc(self.activation[0](self.conv(images)).flatten(1))

    def extra_repr(self):
        return f"at {object()}"


@pytest.fixture(autouse=True)
def _own_generator():
    with torch.random.fork_rng(devices=[]):
        yield


def test_the_same_net_has_the_same_fingerprint_wherever_its_objects_lie():
    assert fingerprint(Net(torch.relu), SHAPE) == fingerprint(Net(torch.relu), SHAPE)


def test_another_forward_pass_is_another_net():
    gelu = nn.functional.gelu
    assert fingerprint(Net(torch.relu), SHAPE) != fingerprint(Net(gelu), SHAPE)


def test_other_weights_are_another_net():
    one, other = Net(torch.relu), Net(torch.relu)
    with torch.no_grad():
        other.fc.bias[0] += 1e-3
    assert fingerprint(one, SHAPE) != fingerprint(other, SHAPE)


def test_a_net_is_left_as_it_was_and_so_is_chance():
    net = Net(torch.relu).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    fingerprint(net, SHAPE)
    assert net.training
    assert next(net.parameters()).dtype == torch.float32
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_that_share_an_init_are_no_seeds(tiny_recipe, tmp_path):
    run = RunDirectory.of(tmp_path, tiny_recipe)
    run.begin("cpu", {"net of seed 0": "a" * 16})
    run.check_inputs({"net of seed 0": "a" * 16})
    run.check_inputs({"net of seed 1": "b" * 16})
    with pytest.raises(InputError, match=r"net of seed 1 is bit for bit the net of seed 0.*several inits"):
        run.check_inputs({"net of seed 1": "a" * 16})
