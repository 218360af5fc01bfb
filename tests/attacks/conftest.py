"""The two threat models, a small network, and images of which attacks break some and not others."""

import pytest
from small_nets import SHAPE, THREATS, K, N, conv_net, labelled
from torch import Tensor, nn

from robust_tickets.attacks import ThreatModel


@pytest.fixture(params=THREATS)
def threat(request) -> ThreatModel:
    return THREATS[request.param]


@pytest.fixture(scope="session")
def net() -> nn.Module:
    return conv_net(*SHAPE[1:], K)


@pytest.fixture(scope="session")
def batch(net) -> tuple[Tensor, Tensor]:
    return labelled(net, N, *SHAPE[1:])
