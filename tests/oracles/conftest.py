"""Each network of the registry, as it is and folded."""

import pytest
import torch
from narrow_nets import SPECS
from oracle_nets import lively
from torch import nn

from robust_tickets.models.fold import fold


@pytest.fixture(scope="module", params=SPECS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def net(name) -> nn.Module:
    return lively(name, torch.float64)


@pytest.fixture(scope="module", params=["net", "folded"])
def ours(request, net) -> nn.Module:
    """The network of our attack; the oracle always attacks the unfolded one."""
    return net if request.param == "net" else fold(net)
