"""Networks with a `train` or `eval` of their own, as those that merge weights, and their views."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robust_tickets.attacks import PGD, ThreatModel, eval_mode
from robust_tickets.attacks.network import set_mode
from robust_tickets.models.fold import fold
from robust_tickets.models.modes import train_mode
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import NetCopies, build_user_net

SHAPE = (1, 2, 2)
SPEC = ModelSpec("own:net", 1.0, SHAPE, 3, (0.0,), (1.0,))


class LowRank(nn.Linear):
    """A frozen layer with a trained update of low rank, merged into it by eval(), as in loralib."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.a, self.b = nn.Parameter(torch.randn(1, 4)), nn.Parameter(torch.randn(3, 1))
        self.weight.requires_grad_(False)
        self.merged = False

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if self.merged == mode:
            self.weight.data += (-1 if mode else 1) * self.b @ self.a
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        return y if self.merged else y + x @ self.a.T @ self.b.T


class Fused(nn.Module):
    """Two branches, fused when eval() is called, as RepVGG."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)
        self.fused: tuple[Tensor, Tensor] | None = None

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        with torch.no_grad():
            self.fused = None if mode else (self.a.weight + self.b.weight, self.a.bias + self.b.bias)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x) if self.fused is None else F.linear(x, *self.fused)


class Noisy(nn.Module):
    """Noise that eval() switches off, and train() on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.noise = nn.Linear(4, 3), True

    def eval(self) -> nn.Module:
        self.noise = False
        return super().eval()

    def train(self, mode: bool = True) -> nn.Module:
        if mode:
            self.noise = True
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + torch.rand_like(x) if self.noise else x)


KINDS = [LowRank, Fused, Noisy]
INSIDE = [lambda kind=kind: nn.Sequential(nn.Flatten(), kind()) for kind in (LowRank, Fused)]


class Whole(Noisy):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


NETS = [*INSIDE, Whole]


def own_state(net: nn.Module) -> list[object]:
    """What modes change: flags, numbers of a layer of its own, and tensors bit for bit."""
    plain = [{k: v for k, v in vars(m).items() if isinstance(v, bool)} for m in net.modules()]
    fused = [getattr(m, "fused", None) is None for m in net.modules()]
    return [plain, fused, [tensor.tolist() for tensor in net.state_dict().values()]]


@pytest.mark.parametrize("make", NETS)
@pytest.mark.parametrize("train", [True, False])
def test_an_attack_leaves_the_network_in_its_state(make, train):
    torch.manual_seed(0)
    net = set_mode(make(), train)
    before, images = own_state(net), torch.rand(6, *SHAPE)
    for _ in range(3):
        PGD(ThreatModel("Linf", 0.1), steps=2)(net, images, torch.arange(6) % 3)
    assert own_state(net) == before


@pytest.mark.parametrize("make", NETS)
def test_attacks_see_the_network_that_eval_gives(make):
    torch.manual_seed(0)
    net, images = make().eval(), torch.rand(6, *SHAPE)
    expected = net(images)
    net.train()
    with eval_mode(net):
        torch.testing.assert_close(net(images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", NETS)
def test_the_view_follows_training_and_writes_nothing(make):
    torch.manual_seed(0)
    net, images = make().train(), torch.rand(6, *SHAPE)
    view = fold(net, SHAPE)
    for _ in range(3):
        net(images).square().sum().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.requires_grad:
                    parameter -= 0.1 * parameter.grad.sign()
        before = own_state(net)
        view.refresh()
        logits = view(images)
        assert own_state(net) == before
        expected = set_mode(net, False)(images)
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
        view.refresh()  # of a network in eval mode, as evaluations have it
        torch.testing.assert_close(view(images), expected, rtol=0, atol=1e-5)
        set_mode(net, True)


@pytest.mark.parametrize("make", NETS)
@pytest.mark.parametrize("train", [True, False])
def test_the_checks_before_a_training_leave_its_state(make, train):
    torch.manual_seed(0)
    net = set_mode(make(), train)
    before, images = own_state(net), torch.rand(6, *SHAPE)
    built = build_user_net(NetCopies(net), SPEC, seed=0)
    assert own_state(net) == before
    assert own_state(built) == before
    torch.testing.assert_close(train_mode(built).eval()(images), net.eval()(images), rtol=0, atol=1e-6)


class WithEvaluation(nn.Sequential):
    """Its `eval` is another function than PyTorch's."""

    def eval(self, data: object) -> float:
        raise NotImplementedError


def test_an_eval_with_arguments_is_not_called():
    net = WithEvaluation(nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.5))
    with eval_mode(net):
        assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.modules())


class NormByName(nn.Module):
    """Freezes its BatchNorm's weight by name whenever it is switched."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(8, 3)

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.norm.weight.requires_grad_(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.conv(x)).relu().flatten(1))


def test_a_switch_that_needs_a_batchnorm_is_not_folded():
    net, images = NormByName(), torch.rand(6, *SHAPE)
    view = fold(net, SHAPE)
    assert torch.equal(view(images), net.eval()(images))


class Renormalised(nn.Linear):
    """Its weights get other memory at each call."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data = torch.renorm(self.weight.data, p=2, dim=0, maxnorm=0.5)
        return super().forward(x)


def test_the_view_follows_weights_with_new_memory():
    torch.manual_seed(0)
    net, images = nn.Sequential(nn.Flatten(), Renormalised(4, 3)), torch.rand(6, *SHAPE)
    view = fold(net, SHAPE)
    for _ in range(2):
        net.train()(images)
        with torch.no_grad():
            net[1].weight += torch.randn(3, 4)
        view.refresh()
        logits = view(images)
        assert torch.equal(logits, net.eval()(images))
