"""The folded network equals the network, for any network."""

from collections.abc import Callable

import pytest
import torch
from narrow_nets import SPECS, images_of, randomise
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from unchanged_net import unchanged

from robust_tickets.attacks import PGD, ThreatModel
from robust_tickets.models.fold import fold, foldable_batchnorms
from robust_tickets.models.registry import build

NUMBERS = ("weight", "bias", "running_mean", "running_var")
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
Wire = Callable[["Wired", Tensor], Tensor]


def gap(net: nn.Module, view: nn.Module, images: Tensor) -> float:
    """The largest relative difference of logits in eval mode; the network's modes are restored."""
    modes = [(module, module.training) for module in net.modules()]
    with torch.no_grad():
        expected, folded = net.eval()(images), view(images)
    for module, mode in modes:
        module.training = mode
    assert 0.05 < float(expected.abs().max()) < 50
    return float((folded - expected).abs().max() / expected.abs().max())


@pytest.fixture(params=SPECS)
def name(request) -> str:
    return request.param


@pytest.fixture
def net(name) -> nn.Module:
    return randomise(build(SPECS[name], seed=0), SPECS[name].shape)


@pytest.fixture
def images(name) -> Tensor:
    return images_of(SPECS[name].shape)


def train_a_step(net: nn.Module, images: Tensor) -> None:
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    F.cross_entropy(net.train()(images), torch.arange(len(images)) % 5).backward()
    optimiser.step()
    with torch.no_grad():
        net(images * 0.5)


def test_folded_gradients_of_the_image_equal_the_network_s(net, images):
    view, gradients = fold(net), []
    net.eval()
    for model in (net, view):
        points = images.clone().requires_grad_(True)
        gradients.append(torch.autograd.grad(model(points).square().sum(), points)[0])
    assert float(gradients[0].abs().max()) > 1e-3
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10 * float(gradients[0].abs().max()))


def test_folded_logits_equal_the_network_s_and_refresh_follows_training(net, images):
    view = fold(net)
    assert gap(net, view, images) < 1e-10
    assert not any(isinstance(module, NORMS) for module in view.modules())
    train_a_step(net, images)
    if foldable_batchnorms(net):
        assert gap(net, view, images) > 1e-4  # folded weights are a copy
    view.refresh()
    assert gap(net, view, images) < 1e-10


@pytest.mark.parametrize("tensor", ["conv1.weight", *(f"bn1.{n}" for n in NUMBERS)])
def test_refresh_follows_every_tensor(tensor):
    net = randomise(build(SPECS["resnet20"], seed=0), (3, 8, 8))
    view, images = fold(net), images_of((3, 8, 8))
    net.state_dict()[tensor].add_(0.3)
    assert gap(net, view, images) > 1e-4
    view.refresh()
    assert gap(net, view, images) < 1e-10


def test_other_layers_share_memory_with_the_network(net):
    view = fold(net).view
    folded = {name for pair in foldable_batchnorms(net).items() for name in pair}
    others = [(n, t) for n, t in net.state_dict().items() if n.rpartition(".")[0] not in folded]
    assert others
    assert all(view.state_dict()[n].data_ptr() == tensor.data_ptr() for n, tensor in others)


def test_folding_leaves_the_network_unchanged(net, images):
    train_a_step(net, images)
    next(iter(net.parameters())).requires_grad_(False)
    list(net.modules())[-1].eval()
    with unchanged(net):
        view = fold(net)
        view.train()
        view(images)
        view.refresh()
        PGD(ThreatModel("Linf", 0.1), steps=2).run(view, images, torch.arange(6) % 5)


def test_the_folded_network_stays_in_eval_mode_without_parameter_gradients(net, images):
    view = fold(net)
    before = view(images)
    assert view.train() is view
    assert not any(module.training for module in view.modules())
    assert not any(p.requires_grad for p in view.parameters())
    assert not before.requires_grad
    assert torch.equal(view(images), before)


class Wired(nn.Module):
    """A convolution and BatchNorms, connected by a function."""

    def __init__(self, wire: Wire, norm: nn.Module | None = None, *, bias: bool = False) -> None:
        super().__init__()
        self.wire = wire
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=bias)
        self.norm = norm or nn.BatchNorm2d(3)
        self.other = nn.BatchNorm2d(3)
        self.linear = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.wire(self, images).relu().mean((2, 3)))


def conv_norm(net: Wired, x: Tensor) -> Tensor:
    return net.norm(net.conv(x))


def used_twice_in_eval_mode(net: Wired, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.norm(y) if net.training else net.norm(y) + y


class Tokens(nn.Module):
    """A linear layer over channels and a BatchNorm over pixels or rows of the image."""

    def __init__(self, columns: int, norm: nn.Module) -> None:
        super().__init__()
        self.columns = columns
        self.mix, self.norm, self.linear = nn.Linear(3, 4), norm, nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 2, 3, 1)[:, :, : self.columns]
        x = x.flatten(1, 2) if isinstance(self.norm, nn.BatchNorm1d) else x
        return self.linear(self.norm(self.mix(x)).relu().flatten(1, -2).mean(1))


def hooked(part: str) -> nn.Module:
    net = Wired(conv_norm)
    getattr(net, part).register_forward_hook(lambda module, inputs, output: output.abs())
    return net


NOT_FOLDED = {
    "one convolution called twice": lambda: Wired(lambda n, x: n.norm(n.conv(x)) + n.other(n.conv(x * x))),
    "one norm called twice": lambda: Wired(lambda n, x: n.norm(n.norm(n.conv(x)))),
    "two norms on one output": lambda: Wired(lambda n, x: (lambda y: n.norm(y) * n.other(y))(n.conv(x))),
    "output used twice": lambda: Wired(lambda n, x: (lambda y: n.norm(y) + y)(n.conv(x))),
    "output used twice in eval mode": lambda: Wired(used_twice_in_eval_mode),
    "data-dependent control flow": lambda: Wired(lambda n, x: conv_norm(n, x if x.mean() > 0.1 else 1 - x)),
    "a ReLU between": lambda: Wired(lambda n, x: n.norm(n.conv(x).relu())),
    "no running statistics": lambda: Wired(conv_norm, nn.BatchNorm2d(3, track_running_stats=False)),
    "convolution's weight read elsewhere": lambda: Wired(
        lambda n, x: conv_norm(n, x) + F.conv2d(x, n.conv.weight, padding=1)
    ),
    "norm's weight read elsewhere": lambda: Wired(lambda n, x: conv_norm(n, x) * n.norm.weight.abs().sum()),
    "norm over as many tokens as channels": lambda: Tokens(1, nn.BatchNorm1d(4)),
    "norm over rows": lambda: Tokens(4, nn.BatchNorm2d(4)),
    "hook on the convolution": lambda: hooked("conv"),
    "hook on the norm": lambda: hooked("norm"),
}


@pytest.mark.parametrize("case", NOT_FOLDED)
def test_other_pairs_are_not_folded(case):
    net, images = randomise(NOT_FOLDED[case](), (3, 4, 4)), images_of((3, 4, 4))
    assert gap(net, fold(net), images) < 1e-10
    assert foldable_batchnorms(net) == {}


def norm_without_bias() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    norm.bias = None  # bias=False in newer PyTorch
    return norm


FOLDED = {
    "plain": lambda: Wired(conv_norm),
    "bias in the convolution": lambda: Wired(conv_norm, bias=True),
    "no bias in the norm": lambda: Wired(conv_norm, norm_without_bias()),
    "no scale or bias in the norm": lambda: Wired(conv_norm, nn.BatchNorm2d(3, affine=False)),
}


@pytest.mark.parametrize("case", FOLDED)
def test_pairs_are_folded_and_refresh_follows_training(case):
    net, images = randomise(FOLDED[case](), (3, 4, 4)), images_of((3, 4, 4))
    assert foldable_batchnorms(net) == {"conv": "norm"}
    view = fold(net)
    assert gap(net, view, images) < 1e-10
    train_a_step(net, images)
    assert gap(net, view, images) > 1e-4
    view.refresh()
    assert gap(net, view, images) < 1e-10


def aliased(affine: bool) -> nn.Module:
    """A norm with two names, of which the second is called."""
    net = Wired(lambda n, x: n.again(n.conv(x)), nn.BatchNorm2d(3, affine=affine))
    net.again = nn.Sequential(net.norm)
    return net


def weight_normalised() -> nn.Module:
    net = Wired(conv_norm)
    parametrizations.weight_norm(net.conv)
    return net


@pytest.mark.parametrize("build_net", [lambda: aliased(True), lambda: aliased(False), weight_normalised])
def test_other_networks_are_equal_folded_or_not(build_net):
    net, images = randomise(build_net(), (3, 4, 4)), images_of((3, 4, 4))
    view = fold(net)
    assert gap(net, view, images) < 1e-10
    train_a_step(net, images)
    view.refresh()
    assert gap(net, view, images) < 1e-10


class AssignedStatistic(nn.Module):
    """A buffer that training mode assigns anew, and does not change in place."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(0)
        return self.last(x - self.mean)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("wrap", [lambda net: net, torch.jit.script], ids=["module", "scripted"])
def test_the_view_follows_buffers_that_are_assigned_anew(wrap):
    net = wrap(AssignedStatistic())
    view, images = fold(net), torch.rand(5, 1, 2, 2)
    net.train()(images)
    view.refresh()
    assert torch.equal(view(images), net.eval()(images))
    assert bool(net.mean.any())
