"""FLOPs, the currency of equal cost."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from robust_tickets.models import ModelSpec, build, fold, forward_flops

SPECS = {
    "lenet-300-100": ModelSpec("lenet-300-100", 0.1, (1, 8, 8), 5, (0.3,), (0.4,)),
    "resnet20": ModelSpec("resnet20", 0.5, (3, 8, 8), 5, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)),
    "vgg16": ModelSpec("vgg16", 0.125, (3, 32, 32), 5, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)),
}
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


def passes(net: nn.Module, images: Tensor, *, backward: bool) -> int:
    """FLOPs of a pass forward, or of one forward and back, with the gradient of the images wanted."""
    leaf = images.clone().requires_grad_(backward)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        loss = net(leaf.clone()).square().sum()  # a clone: the counter cannot follow leaves
        if backward:
            loss.backward()
    if backward:
        assert leaf.grad is not None
    return counter.get_total_flops()


def test_forward_flops_are_those_of_a_batch_divided_by_the_batch(spec, net, images):
    assert forward_flops(net, spec.shape) * N == passes(net, images, backward=False) > 0


def test_forward_flops_are_two_for_each_weight_at_each_place_it_is_used(spec, net, images):
    by_hand = 0

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal by_hand
        by_hand += 2 * module.weight.numel() * output[0, 0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        net.eval()(images[:1])
    counted = by_hand
    assert forward_flops(net, spec.shape) == counted


def test_forward_flops_of_lenet_are_twice_its_weights():
    spec = ModelSpec("lenet-300-100", 1.0, (1, 28, 28), 10, (0.1307,), (0.3081,))
    assert forward_flops(build(spec, seed=0), spec.shape) == 2 * 266_200


def test_forward_flops_grow_with_the_image():
    net = build(SPECS["resnet20"], seed=0)
    head = 2 * net.linear.weight.numel()
    small, large = (forward_flops(net, (3, side, side)) - head for side in (8, 16))
    assert large == 4 * small


def test_a_backward_to_the_input_costs_one_forward(spec, net, images):
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    forward = N * forward_flops(net, spec.shape)
    assert passes(net.eval(), images, backward=True) == 2 * forward


def test_a_full_backward_costs_two_forwards(spec, net, images):
    forward = N * forward_flops(net, spec.shape)
    assert passes(net.train(), images, backward=True) == 3 * forward


def test_folding_changes_no_flops(spec, net):
    assert forward_flops(fold(net), spec.shape) == forward_flops(net, spec.shape)


def test_the_type_of_the_net_changes_no_flops(spec, net):
    assert forward_flops(net.double(), spec.shape) == forward_flops(build(spec, seed=0), spec.shape)


def state(net: nn.Module) -> tuple[list[object], list[Tensor]]:
    same = [(name, module.training) for name, module in net.named_modules()]
    same += [(name, p.requires_grad, id(p.grad)) for name, p in net.named_parameters()]
    return same, [t.clone() for t in net.state_dict().values()]


@pytest.mark.parametrize("fails", [False, True], ids=["counted", "raised"])
def test_counting_leaves_the_net_as_it_was(fails, spec, net, images):
    net.train()(images).sum().backward()
    list(net.modules())[1].eval()
    list(net.modules())[-1].eval()
    next(net.parameters()).requires_grad_(False)
    same, tensors = state(net)
    if fails:
        with pytest.raises(RuntimeError):
            forward_flops(net, (7, *spec.shape[1:]))
    else:
        forward_flops(net, spec.shape)
    after, now = state(net)
    assert after == same
    assert all(torch.equal(one, other) for one, other in zip(tensors, now, strict=True))
    assert not any(module._forward_hooks for module in net.modules())
