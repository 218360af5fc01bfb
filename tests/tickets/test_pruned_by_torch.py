"""Tickets from torch.nn.utils.prune and back: the same masks, the same function, the same training."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from training_case import same_state

import robust_tickets as rt
from robust_tickets.base.errors import InputError
from robust_tickets.models.weights import copy_state
from robust_tickets.tickets.inspection import describe_ticket

SHAPE = (1, 8, 8)
IMAGES = torch.rand(16, *SHAPE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 10


@pytest.fixture
def pruned(conv_net):
    """A network whose convolutions lost three quarters of their weights; the classifier is whole."""
    net = copy.deepcopy(conv_net)
    layers = [(m, "weight") for m in net.modules() if isinstance(m, nn.Conv2d)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=0.75)
    return net


def test_the_ticket_has_the_masks_and_the_weights_before_them(pruned, conv_net):
    before = copy_state(pruned)
    ticket = rt.Ticket.from_pruned(pruned, SHAPE)
    assert same_state(copy_state(pruned), before)
    assert same_state(ticket.init, copy_state(conv_net))
    for path, module in pruned.named_modules():
        if isinstance(module, nn.Conv2d):
            assert torch.equal(ticket.mask[f"{path}.weight"], module.weight_mask.bool())
    assert ticket.mask["linear.weight"].all()
    net = ticket.apply(copy.deepcopy(conv_net), compact=False)
    torch.testing.assert_close(net.eval()(IMAGES), pruned.eval()(IMAGES), rtol=0, atol=0)


def test_both_ways_of_training_give_the_same_network(pruned, conv_net):
    """PyTorch masks weights in each forward pass, `keep_sparse` gradients and weights around each step."""
    ticket = rt.Ticket.from_pruned(pruned, SHAPE)
    net = ticket.apply(copy.deepcopy(conv_net), compact=False).double().train()
    pruned.double().train()
    optimisers = [torch.optim.SGD(each.parameters(), 0.1, momentum=0.9) for each in (net, pruned)]
    rt.keep_sparse(net, ticket, optimisers[0])
    for each, optimiser in zip((net, pruned), optimisers, strict=True):
        for _ in range(3):
            optimiser.zero_grad()
            F.cross_entropy(each(IMAGES.double()), LABELS).backward()
            optimiser.step()
    torch.testing.assert_close(net(IMAGES.double()), pruned(IMAGES.double()), rtol=0, atol=1e-10)


def test_there_and_back(pruned, conv_net, tmp_path):
    ticket = rt.Ticket.from_pruned(pruned, SHAPE)
    again = rt.Ticket.from_pruned(ticket.prune(copy.deepcopy(conv_net)), SHAPE)
    assert again.hash == ticket.hash
    ticket.save(str(tmp_path / "t.safetensors"))
    loaded = rt.Ticket.load(str(tmp_path / "t.safetensors"))
    assert loaded.hash == ticket.hash
    text = describe_ticket(loaded)
    assert "torch.nn.utils.prune" in text
    assert "CifarResNet" in text


def test_images_of_another_shape_are_refused(pruned):
    with pytest.raises(InputError, match=r"the network takes no images of 3 x 8 x 8 \(.*channels.*\): give"):
        rt.Ticket.from_pruned(pruned, (3, 8, 8))


def test_what_is_no_ticket_is_refused(conv_net):
    with pytest.raises(InputError, match="nothing in the network is pruned"):
        rt.Ticket.from_pruned(conv_net, SHAPE)
    prune.l1_unstructured(conv_net.linear, "bias", amount=0.5)
    with pytest.raises(InputError, match=r"linear\.bias is pruned, and is no weight"):
        rt.Ticket.from_pruned(conv_net, SHAPE)
