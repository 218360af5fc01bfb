"""A view that does not follow its network in training is refused at the first validation."""

import pytest
import torch
from own_case import RECIPE, build_net, own_images
from torch import Tensor, nn

import robust_tickets
from robust_tickets.base.errors import InputError
from robust_tickets.models.fold import fold
from robust_tickets.models.view_check import check_view

SHAPE = (1, 8, 8)


class SkipsAtFirst(nn.Module):
    """A flag that some passes in training mode switch on."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.passes = build_net(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += self.training
        return self.net(x) + (5 * x.flatten(1)[:, :3] if self.passes > 4 else 0)


class Shadow(nn.Module):
    """Averaged weights in a dict, used in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build_net()
        self.shadow: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return torch.func.functional_call(self.net, self.shadow, (x,))
        for name, parameter in self.net.named_parameters():
            self.shadow[name] = 0.5 * self.shadow.get(name, parameter.detach()) + 0.5 * parameter.detach()
        return self.net(x)


@pytest.mark.parametrize("kind", [SkipsAtFirst, Shadow])
def test_a_state_that_the_view_does_not_have_is_said_after_the_first_epoch(kind):
    changes = {"train": {"epochs": 3, "lr": 0.5, "batch": 8}}
    with pytest.raises(InputError, match="attacks and validation see another network"):
        robust_tickets.train(kind, own_images(), recipe=RECIPE, **changes)


class NoisyCounter(nn.Module):
    """Random in eval mode, with a buffer that counts passes."""

    def __init__(self, random: bool) -> None:
        super().__init__()
        self.net, self.random = build_net(), random
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.net(x + torch.rand_like(x) if self.random else x)


@pytest.mark.parametrize("make", [build_net, lambda: NoisyCounter(False), lambda: NoisyCounter(True)])
def test_views_that_follow_pass_and_nothing_is_left_changed(make):
    torch.manual_seed(0)
    net = make().train()
    view = fold(net, SHAPE)
    for _ in range(3):
        net(torch.rand(8, *SHAPE)).square().sum().backward()
        torch.optim.SGD(net.parameters(), 0.01).step()
    before, generator = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    check_view(net, view, SHAPE)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(module.training for module in net.modules())
    view.refresh()
    net[0].weight.data.mul_(3) if isinstance(net, nn.Sequential) else net.net[0].weight.data.mul_(3)
    view.refresh = lambda: None
    with pytest.raises(InputError, match="another network"):
        check_view(net, view, SHAPE)
