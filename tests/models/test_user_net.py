"""The user's own networks: imported, built and checked; each mistake is named with its fix."""

import copy
import sys
import threading
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import remove_parametrizations

from robust_tickets.base.errors import InputError
from robust_tickets.models.copy_net import copy_net
from robust_tickets.models.fold import fold, foldable_batchnorms
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import build_user_net, function_name, import_function
from robust_tickets.stages.unsupported import unsupported_parts

SPEC = ModelSpec("my_nets:small", 1.0, (3, 8, 8), 5, (0.5,) * 3, (0.2,) * 3)

MODULE = """
import torch
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))

class Nets:
    @staticmethod
    def inside():
        return small()

net = small()
number = 3
"""


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with modules, which are removed from sys.modules afterwards."""
    (tmp_path / "my_nets.py").write_text(MODULE)
    (tmp_path / "broken_nets.py").write_text("raise RuntimeError('no luck')\n")
    (tmp_path / "script_nets.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.endswith("_nets"):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["my_nets:small", "my_nets:Nets.inside"])
def test_a_function_in_the_working_directory_is_imported(here, name):
    assert build_user_net(import_function(name), SPEC, seed=0)(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


WRONG_NAMES = {
    "no_such_nets:small": "no_such_nets failed.*ModuleNotFoundError.*run in its folder",
    "broken_nets:small": "importing broken_nets failed.*RuntimeError: no luck.*fix it",
    "script_nets:small": "importing script_nets failed.*SystemExit: 3.*fix it",
    "my_nets:smal": r"my_nets\.py.* has no smal.*check the name",
    "my_nets:Nets.outside": r"has no Nets\.outside.*check the name",
    "my_nets": "has no such function: check the name, module:function",
    "sys:small": r"sys \(a module of Python's own\) has no small",
    "my_nets:number": "is a int: name a function",
    "my_nets:net": "is a Sequential: name a function that returns the network",
}


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_wrong_name_is_named_with_its_fix(here, name):
    with pytest.raises(InputError, match=f"^{name} .*{WRONG_NAMES[name]}"):
        import_function(name)


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(5))


@pytest.mark.parametrize("init", ["default", "kaiming-normal"])
@pytest.mark.parametrize("make", [small, lazy])
def test_the_weights_depend_on_the_seed_and_the_global_generator_is_unchanged(make, init):
    before, spec = torch.get_rng_state(), ModelSpec(**{**vars(SPEC), "init": init})
    one, same, other = (build_user_net(make, spec, seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    weights = [name for name, tensor in one.items() if tensor.ndim > 1]
    assert len(weights) == 2
    assert all((one[name] != other[name]).all() for name in weights)


def test_a_function_that_seeds_or_fails_leaves_the_generator_unchanged():
    torch.manual_seed(123)
    before = torch.get_rng_state()

    def seeding() -> nn.Module:
        torch.default_generator.manual_seed(0)
        return small()

    build_user_net(seeding, SPEC, seed=1)
    with pytest.raises(InputError):
        build_user_net(lambda: torch.rand(3), SPEC, seed=1)  # type: ignore[arg-type, return-value]
    assert torch.equal(torch.get_rng_state(), before)


def test_an_init_replaces_that_of_the_function():
    spec = ModelSpec(**{**vars(SPEC), "init": "glorot-normal"})
    net, own = (build_user_net(small, each, seed=0) for each in (spec, SPEC))
    assert float(net[4].weight.detach().var()) == pytest.approx(2 / (288 + 5), rel=0.15)
    assert not net[4].bias.any()
    # PyTorch's: uniform up to 1 / sqrt(288)
    assert float(own[4].weight.detach().var()) == pytest.approx(1 / (3 * 288), rel=0.15)


def test_modes_and_statistics_are_those_of_the_function():
    def partly_frozen() -> nn.Module:
        net = small()
        net[1].eval()
        return net

    net = build_user_net(partly_frozen, SPEC, seed=0)
    assert [m.training for m in net.children()] == [True, False, True, True, True]
    assert torch.equal(net[1].running_mean, torch.zeros(8))


def with_argument(width: int) -> nn.Module:
    raise AssertionError


def failing() -> nn.Module:
    raise OSError("no weights on disk")


def pruned() -> nn.Module:
    net = small()
    prune.l1_unstructured(net[0], "weight", amount=0.5)
    return net


class Counting(nn.Flatten):
    """A layer whose state is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


def linear(pixels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))


WRONG_FUNCTIONS = {
    r"failed \(OSError: no weights on disk\).*without arguments": failing,
    r"failed \(TypeError.*width.*without arguments": with_argument,
    r"returned a NoneType, expected an nn\.Module.*return the network": lambda: None,
    r"gives \(2, 7\) for two images.*\(2, 5\).*last layer": lambda: linear(192, 7),
    "of type tuple|fails on images": lambda: nn.LSTM(8, 5),
    r"fails on images of shape \(2, 3, 8, 8\).*RuntimeError.*\(N, C, H, W\) in \[0, 1\]": lambda: linear(
        27, 5
    ),
    "fails on images.*RuntimeError": lambda: small().double(),
    r"state dict has a dict \(0\._extra_state\).*buffer": lambda: nn.Sequential(
        Counting(), nn.Linear(192, 5)
    ),
    "without trainable parameters.*requires_grad": lambda: small().requires_grad_(False),
    r"a hook computes the weight of '0'.*torch\.nn\.utils\.prune\.remove\(layer, 'weight'\)": pruned,
}


@pytest.mark.parametrize("message", WRONG_FUNCTIONS)
def test_a_wrong_network_is_named_with_its_fix(message):
    with pytest.raises(InputError, match=f"^my_nets:small .*({message})"):
        build_user_net(WRONG_FUNCTIONS[message], SPEC, seed=0)


def test_a_network_pruned_by_torch_is_accepted_after_remove():
    def removed() -> nn.Module:
        net = pruned()
        prune.remove(net[0], "weight")
        return net

    net = build_user_net(removed, SPEC, seed=0)
    assert int((net[0].weight == 0).sum()) == 108  # half of 8 * 3 * 3 * 3
    assert foldable_batchnorms(net) == {"0": "1"}


def build_copy(net: nn.Module) -> nn.Module:
    return build_user_net(partial(copy_net, net), SPEC, seed=0)


@pytest.mark.parametrize("function", [fold, foldable_batchnorms, unsupported_parts, build_copy])
def test_a_network_that_cannot_be_copied_is_named(function):
    locked = small()
    locked.lock = threading.Lock()
    with pytest.raises(InputError, match=r"^the network cannot be copied.*lock.*prune.remove"):
        function(locked)


def test_parametrised_layers_are_named_as_unsupported():
    net = small()
    parametrizations.weight_norm(net[0])
    (pruning, folding) = unsupported_parts(net)
    assert pruning.startswith("not pruned: 224 of 1,693 parameters only go into weights that are computed")
    assert "0.parametrizations.weight.original1" in pruning
    assert "remove_parametrizations" in pruning
    assert folding.startswith("not folded for the attack: 1 of 1 BatchNorms")
    remove_parametrizations(net[0], "weight")
    assert unsupported_parts(net) == []


def test_frozen_and_other_parameters_are_named_as_unsupported():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.ones(3, 8, 8))
            self.body = small()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x * self.table)

    net = Scaled()
    net.body[0].requires_grad_(False)
    pruning, training = unsupported_parts(net)
    assert pruning.startswith("not pruned: 192 of 1,877 parameters belong to no convolution")
    assert "(table)" in pruning
    assert training.startswith("not trained: 224 of 1,877 parameters are frozen (body.0.weight, body.0.bias)")
    assert unsupported_parts(small()) == []


def test_buffers_that_require_a_gradient_are_named_as_untrained():
    net = small()
    net.register_buffer("scale", torch.ones(1, requires_grad=True))
    (line,) = unsupported_parts(net)
    assert line.startswith(
        "not trained: 1 buffers require a gradient, and only parameters are trained (scale)"
    )


def test_the_name_is_one_that_can_be_imported_or_own_net():
    assert function_name(small) == f"{__name__}:small"
    assert function_name(nn.Flatten) == function_name(nn.Flatten()) == "torch.nn.modules.flatten:Flatten"
    assert function_name(small().forward) == "torch.nn.modules.container:Sequential.forward"
    for nameless in (lambda: small(), partial(small), partial(copy.deepcopy, small())):
        assert function_name(nameless) == "own:net"
