"""Networks whose weights are computed by hooks are attacked and evaluated as those with plain weights."""

import copy
from collections.abc import Callable

import pytest
import torch
from own_case import RECIPE, build_net, own_images
from torch import Tensor, nn
from torch.nn.utils import prune

import robust_tickets
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.fold import fold

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*there are few images",
    "ignore:.*better than chance",
    "ignore:`torch.nn.utils.weight_norm`",
    "ignore:.*was larger than",
)
HOOKS: dict[str, tuple[Callable[[nn.Module], object], Callable[[nn.Module], object]]] = {
    "weight norm": (nn.utils.weight_norm, nn.utils.remove_weight_norm),
    "spectral norm": (nn.utils.spectral_norm, nn.utils.remove_spectral_norm),
    "prune": (lambda c: prune.l1_unstructured(c, "weight", 0.3), lambda c: prune.remove(c, "weight")),
}


@pytest.fixture(params=HOOKS)
def pair(request) -> tuple[nn.Module, nn.Module]:
    """A network with a hook after a pass in training mode, and the same with a plain weight."""
    attach, remove = HOOKS[request.param]
    net = build_net()
    attach(net[0])
    net(torch.rand(4, 1, 8, 8))
    net.eval()
    net.zero_grad()
    plain = copy_net(net)
    remove(plain[0])
    return net, plain


def logits(net: nn.Module) -> Tensor:
    with torch.no_grad():
        return net(torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))


def test_copies_compute_the_same_and_the_network_keeps_its_graph(pair):
    net, plain = pair
    weight = net[0].weight
    assert weight.grad_fn is not None
    twin = copy_net(net)
    assert net[0].weight is weight
    assert weight.grad_fn is not None
    for other in (twin, fold(net), plain):
        assert torch.allclose(logits(other), logits(net), atol=1e-5)
    folded = fold(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)
    folded.refresh()
    assert torch.allclose(logits(folded), logits(net), atol=1e-4)
    assert not torch.allclose(logits(folded), logits(twin), atol=1e-2)


@pytest.mark.filterwarnings("ignore:this robust accuracy may mislead")
def test_an_evaluation_is_that_of_the_plain_network(pair):
    rows = [robust_tickets.evaluate(net, own_images(), RECIPE, attacks=("clean", "pgd-2")) for net in pair]
    assert rows[0].accuracy.tolist() == rows[1].accuracy.tolist()


def test_deepcopy_of_pytorch_s_refuses_them():
    net = build_net()
    nn.utils.weight_norm(net[0])
    with pytest.raises(RuntimeError, match="deepcopy protocol"):
        copy.deepcopy(net)
