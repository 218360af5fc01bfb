"""Fingerprints of a network: of what it computes, and of its weights."""

import pytest
import torch
from torch import nn
from unchanged_net import unchanged

from robust_tickets.models.fingerprint import function_fingerprint, weights_fingerprint

SHAPE = (1, 8, 8)


class Net(nn.Module):
    """The same layers and weights for any activation, and a repr that differs between objects."""

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


def test_function_and_weights_have_fingerprints_of_their_own():
    net, same, gelu, shifted = Net(torch.relu), Net(torch.relu), Net(nn.functional.gelu), Net(torch.relu)
    with torch.no_grad():
        shifted.fc.bias[0] += 1e-3
    for fingerprint, unlike in (
        (lambda net: function_fingerprint(net, SHAPE), gelu),
        (weights_fingerprint, shifted),
    ):
        others = [other for other in (same, gelu, shifted) if other is not unlike]
        assert all(fingerprint(other) == fingerprint(net) for other in others)
        assert fingerprint(unlike) != fingerprint(net)


def test_the_network_and_the_generator_are_left_as_they_were():
    net = Net(torch.relu).train()
    before = torch.get_rng_state()
    with unchanged(net):
        function_fingerprint(net, SHAPE)
    assert next(net.parameters()).dtype == torch.float32
    assert torch.equal(torch.get_rng_state(), before)
