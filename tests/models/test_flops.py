"""FLOPs of a forward pass equal PyTorch's count and counts by hand."""

import pytest
import torch
import torchvision
from narrow_nets import SPECS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from unchanged_net import unchanged

from robust_tickets.models.flops import forward_flops
from robust_tickets.models.fold import fold
from robust_tickets.models.registry import ModelSpec, build

N = 3


@pytest.fixture(params=SPECS)
def spec(request) -> ModelSpec:
    return SPECS[request.param]


@pytest.fixture
def net(spec) -> nn.Module:
    return build(spec, seed=0)


@pytest.fixture
def images(spec) -> Tensor:
    return torch.rand(N, *spec.shape, generator=torch.Generator().manual_seed(0))


def test_flops_are_two_for_each_use_of_a_weight(spec, net, images):
    counts = []

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        counts.append(2 * module.weight.numel() * output[0, 0].numel())

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        net.eval()(images[:1])
    expected = sum(counts)  # before the hooks count again
    assert forward_flops(net, spec.shape) == expected


def transformer() -> nn.Module:
    """16 patches of 8 x 8 and a class token, width 32, 2 heads, 2 layers."""
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10
    )


TOKENS, WIDTH = 17, 32
PROJECTIONS = 2 * TOKENS * WIDTH * 4 * WIDTH
"""FLOPs of queries, keys, values and outputs."""
PRODUCTS = 2 * (2 * TOKENS**2 * WIDTH)
"""FLOPs of queries with keys, and of weights with values, over all heads."""


class Attention(nn.Module):
    """Attention over tokens that are the image's rows, by one of PyTorch's interfaces."""

    def __init__(self, interface: str) -> None:
        super().__init__()
        self.interface = interface
        self.parts = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        x = images[:, 0]
        if self.interface == "module":
            y = self.attention(x, x, x, need_weights=False)[0]
        elif self.interface == "layer":
            y = self.layer(x)
        else:
            query, key, value, _ = self.parts(x).unflatten(-1, (8, 16)).transpose(1, 2).chunk(4, 1)
            y = F.scaled_dot_product_attention(query, key, value)
        return y.flatten(1)


ATTENTION = {
    "module": PROJECTIONS + PRODUCTS,
    "layer": PROJECTIONS + PRODUCTS + 2 * 2 * TOKENS * WIDTH * 2 * WIDTH,
    "function": PROJECTIONS + PRODUCTS,
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("interface", ATTENTION)
def test_attention_counts_as_its_matrix_products(interface, training):
    net = Attention(interface).train(training)
    assert forward_flops(net, (1, TOKENS, WIDTH)) == ATTENTION[interface]
    assert forward_flops(fold(net), (1, TOKENS, WIDTH)) == ATTENTION[interface]


def test_flops_of_a_transformer_equal_a_count_by_hand():
    patches = 2 * 3 * 8 * 8 * WIDTH * 16
    layer = PROJECTIONS + PRODUCTS + 2 * 2 * TOKENS * WIDTH * 64
    assert forward_flops(transformer(), (3, 32, 32)) == patches + 2 * layer + 2 * WIDTH * 10


@pytest.mark.parametrize("fast", [True, False])
def test_counting_leaves_pytorch_s_attention_settings_unchanged(fast):
    before = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(fast)
        forward_flops(transformer(), (3, 32, 32))
        with pytest.raises(AssertionError, match="Wrong image"):
            forward_flops(transformer(), (3, 8, 8))
        assert torch.backends.mha.get_fastpath_enabled() is fast
        assert torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.mem_efficient_sdp_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.parametrize("trainable", [False, True])
def test_a_backward_pass_costs_one_forward_pass_to_the_input_and_two_to_the_weights(
    trainable, spec, net, images
):
    net.requires_grad_(trainable)
    forward = N * forward_flops(net, spec.shape)
    leaf = images.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        net(leaf.clone()).square().sum().backward()  # a clone, since the counter ignores leaves
    assert leaf.grad is not None
    assert counter.get_total_flops() == (3 if trainable else 2) * forward


def test_neither_folding_nor_float64_changes_flops(spec, net):
    flops = forward_flops(net, spec.shape)
    assert forward_flops(fold(net), spec.shape) == flops
    assert forward_flops(net.double(), spec.shape) == flops


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_counting_leaves_the_network_unchanged(fails, spec, net, images):
    net.train()(images).sum().backward()
    list(net.modules())[1].eval()
    list(net.modules())[-1].eval()
    next(net.parameters()).requires_grad_(False)
    with unchanged(net):
        if fails:
            with pytest.raises(RuntimeError):
                forward_flops(net, (7, *spec.shape[1:]))
        else:
            forward_flops(net, spec.shape)


class Recurrent(nn.Module):
    """Rows of 8 pixels as 8 time steps, then logits of the last."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, 0])[0][:, -1]


class Product(nn.Module):
    """What a function makes of an image as a vector and of a parameter."""

    def __init__(self, function: object, *shape: int) -> None:
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.weight, x.flatten())


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        # gates, inputs and states of each of 8 steps
        (Recurrent(nn.LSTM(8, 5, batch_first=True)), 8 * 2 * 4 * 5 * (8 + 5)),
        (Recurrent(nn.LSTM(8, 5, 2, batch_first=True)), 8 * 2 * 4 * 5 * (8 + 5 + 5 + 5)),
        (Recurrent(nn.LSTM(8, 5, batch_first=True, bidirectional=True)), 2 * 8 * 2 * 4 * 5 * (8 + 5)),
        (Recurrent(nn.GRU(8, 5, batch_first=True)), 8 * 2 * 3 * 5 * (8 + 5)),
        (Product(lambda w, x: F.bilinear(x[None], x[None], w), 3, 64, 64), 2 * 3 * 64 * 64 + 2 * 3 * 64),
        (Product(torch.mv, 3, 64), 2 * 3 * 64),
        (Product(lambda w, x: torch.addmv(w[:, 0], w, x), 3, 64), 2 * 3 * 64),
        (Product(torch.dot, 64), 2 * 64),
    ],
    ids=["lstm", "two layers", "both directions", "gru", "bilinear", "mv", "addmv", "dot"],
)
def test_products_that_pytorchs_counter_leaves_out_are_counted(net, expected):
    assert forward_flops(net, (1, 8, 8)) == expected
