"""Weights, layers and statistics outside a network's parameters, modules and buffers are refused."""

import copy
import functools
import random
import weakref
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

import robust_tickets as rt
from robust_tickets.base.errors import InputError, RobustnessWarning
from robust_tickets.models.independent_copies import check_copies
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import build_user_net
from robust_tickets.models.whole_state import check_whole_state, hidden_draws, unswitched_layers

SHAPE = (1, 4, 4)
SPEC = ModelSpec("my_nets:net", 1.0, SHAPE, 3, (0.5,), (0.2,))
GLOBAL = nn.Linear(3, 3)
EVAL = nn.Dropout(0.5).eval()


@dataclass
class Holder:
    layer: nn.Module = field(default_factory=lambda: nn.Linear(3, 3))


class Slots:
    __slots__ = ("layer",)

    def __init__(self) -> None:
        self.layer = nn.Linear(3, 3)


class Net(nn.Module):
    """A linear layer, and another step in an attribute `more`."""

    def __init__(self, more: object = None, step=lambda net, x: x) -> None:
        super().__init__()
        self.last = nn.Linear(16, 3)
        self.more, self.step = more, step

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self, self.last(x.flatten(1)))


def apply(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(x)


HIDDEN_WEIGHTS = {
    "list": (
        lambda: Net([nn.Linear(3, 3)], lambda net, x: net.more[0](x)),
        r"more\[0\]\.weight, more\[0\]\.bias",
    ),
    "tuple": (lambda: Net((nn.Linear(3, 3),), lambda net, x: net.more[0](x)), r"more\[0\]\.bias"),
    "dict": (lambda: Net({"a": nn.Linear(3, 3)}, lambda net, x: net.more["a"](x)), r"more\['a'\]\.weight"),
    "list of lists": (lambda: Net([[nn.Linear(3, 3)]], lambda net, x: net.more[0][0](x)), r"more\[0\]\[0\]"),
    "within a layer": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3), Net.within()), r"2\.more\[0\]"),
    "parameter in a list": (
        lambda: Net([nn.Parameter(torch.ones(3))], lambda net, x: x * net.more[0]),
        "more",
    ),
    "tensor": (lambda: Net(torch.ones(3, requires_grad=True), lambda net, x: x * net.more), "more"),
    "dataclass": (lambda: Net(Holder(), lambda net, x: net.more.layer(x)), r"more\.layer\.weight"),
    "slots": (lambda: Net(Slots(), lambda net, x: net.more.layer(x)), r"more\.layer\.weight"),
    "partial": (
        lambda: Net(functools.partial(apply, layer=nn.Linear(3, 3)), lambda net, x: net.more(x)),
        r"more\.keywords\['layer'\]\.weight",
    ),
    "bound method": (lambda: Net(nn.Linear(3, 3).forward, lambda net, x: net.more(x)), r"more\.weight"),
    "in training alone": (
        lambda: Net([nn.Linear(3, 3)], lambda net, x: net.more[0](x) if net.training else x),
        r"more\[0\]\.weight",
    ),
    "in eval mode alone": (
        lambda: Net([nn.Linear(3, 3)], lambda net, x: x if net.training else net.more[0](x)),
        r"more\[0\]\.weight",
    ),
}


class Within(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.more = [nn.Linear(3, 3)]

    def forward(self, x: Tensor) -> Tensor:
        return self.more[0](x)


Net.within = Within  # type: ignore[attr-defined]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("kind", HIDDEN_WEIGHTS)
def test_hidden_weights_are_refused_for_training_and_for_files(kind, train):
    make, place = HIDDEN_WEIGHTS[kind]
    with pytest.raises(InputError, match=rf"my_nets:net computes with .*\(.*{place}.*neither trained nor"):
        build_user_net(make, SPEC, seed=0, train=train)


SHARED = {
    "closure": lambda: Net(None, (lambda layer: lambda net, x: layer(x))(nn.Linear(3, 3))),
    "global": lambda: Net(None, lambda net, x: GLOBAL(x)),
    "weak reference": lambda: Net(weakref.ref(GLOBAL), lambda net, x: net.more()(x)),
}


@pytest.mark.parametrize("kind", SHARED)
def test_weights_that_copies_share_are_refused_as_such(kind):
    with pytest.raises(InputError, match=r"my_nets:net cannot be copied.*over another network"):
        build_user_net(SHARED[kind], SPEC, seed=0)


def test_a_network_with_layers_in_a_list_alone_is_named_as_that():
    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Flatten(), nn.Linear(16, 3)]

        def forward(self, x: Tensor) -> Tensor:
            return self.layers[1](self.layers[0](x))

    with pytest.raises(InputError, match=r"without trainable parameters: hold layers in .*nn\.ModuleList"):
        build_user_net(Alone, SPEC, seed=0)


def steps(layers: object) -> Net:
    return Net(layers, lambda net, x: net.more[0](x))


UNSWITCHED = {
    "dropout": (lambda: steps([nn.Dropout(0.5)]), r"\(more\[0\]\).*\(Dropout\)"),
    "norm": (lambda: steps([nn.BatchNorm1d(3, affine=False)]), r"\(more\[0\]\).*\(BatchNorm1d\)"),
    "frozen norm": (lambda: steps([nn.BatchNorm1d(3).requires_grad_(False)]), r"\(more\[0\]\)"),
}


@pytest.mark.parametrize("kind", UNSWITCHED)
def test_layers_that_modes_do_not_reach_are_refused(kind):
    make, words = UNSWITCHED[kind]
    with pytest.raises(
        InputError, match=rf"my_nets:net computes with layers .*eval\(\) does not reach.*{words}"
    ):
        build_user_net(make, SPEC, seed=0)


@pytest.mark.filterwarnings("ignore:this robust accuracy may mislead")
def test_layers_that_modes_do_not_reach_are_warned_of_where_a_network_is_evaluated():
    net = nn.Sequential(nn.Conv2d(1, 1, 5), nn.Flatten(), steps([nn.Dropout(0.5)]), nn.Linear(3, 10))
    with pytest.warns(RobustnessWarning, match="may mislead: the network computes with layers"):
        rt.evaluate(net, {"name": "digits"}, attacks="clean", limit=20)


def test_a_norm_that_stays_in_train_mode_and_takes_no_single_image_is_named_by_an_evaluation():
    net = nn.Sequential(nn.Conv2d(1, 1, 5), nn.Flatten(), UNSWITCHED["norm"][0](), nn.Linear(3, 10))
    with pytest.raises(InputError, match=r"^the network computes with layers .*\(BatchNorm1d\)"):
        rt.evaluate(net, {"name": "digits"}, attacks="clean", limit=20)


def mode_of(net: nn.Module):
    return lambda module, inputs, output: nn.functional.dropout(output, 0.5, net.training)


def with_hook() -> Net:
    net = Net()
    net.last.register_forward_hook(mode_of(net))
    return net


@pytest.mark.parametrize("trained", [True, False])
def test_a_module_whose_hook_reads_its_mode_is_refused_before_training(trained):
    net = nn.Sequential(nn.Conv2d(1, 1, 5), nn.Flatten(), with_hook(), nn.Linear(3, 10)).train(trained)
    with pytest.raises(InputError, match="cannot be copied, as attacks"):
        rt.train(net, {"name": "digits"})
    with pytest.raises(InputError, match="cannot be copied, as attacks"):
        rt.find_ticket(net, {"name": "digits"})
    assert all(module.training == trained for module in net.modules())


def test_a_copy_of_a_template_whose_mode_it_reads_is_refused():
    template = with_hook()
    with pytest.raises(InputError, match=r"eval\(\) does not reach.*\(Net\)"):
        build_user_net(lambda: copy.deepcopy(template), SPEC, seed=0)
    assert template.training


DRAWN = {
    "tensor": (lambda: Net(torch.rand(3), lambda net, x: x * net.more), "more"),
    "frozen layer": (
        lambda: Net([nn.Linear(3, 3).requires_grad_(False)], lambda net, x: net.more[0](x)),
        r"more\[0\]\.weight",
    ),
    "number": (lambda: Net(float(torch.rand(())), lambda net, x: x * net.more), "more"),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_values_that_a_seed_draws_and_no_file_holds_are_refused(kind):
    make, place = DRAWN[kind]
    function = lambda: nn.Sequential(nn.Conv2d(1, 1, 5), nn.Flatten(), make(), nn.Linear(3, 10))  # noqa: E731
    for stage in (rt.train, rt.find_ticket):
        with pytest.raises(InputError, match=rf"draws values .*\(2\.{place}.*register_buffer"):
            stage(function, {"name": "digits"})


def test_values_that_are_the_same_for_each_seed_are_no_draws():
    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return Net(torch.rand(3, generator=torch.Generator().manual_seed(5)), lambda net, x: x * net.more)

    assert hidden_draws(make(0), make(1), SHAPE) == ""
    noise = [Net(None, lambda net, x: x + random.random()) for _ in range(2)]
    assert hidden_draws(*noise, SHAPE) == ""


class Leaf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = x.detach().flatten(1).requires_grad_()
        return self.last(x.flatten(1)) + self.last(self.kept)


def with_buffer() -> nn.Module:
    net = Net(None, lambda net, x: x * net.scale)
    net.register_buffer("scale", torch.ones(3, requires_grad=True))
    return net


def tied() -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 3))
    net[2].weight = net[1].weight
    return net


def own_layers_in_a_list() -> nn.Module:
    net = steps([])
    net.more.append(nn.Dropout(0.5))
    net.drop = net.more[0]
    return net


FINE = {
    "makes leaves": Leaf,
    "tied": tied,
    "own layers in a list": own_layers_in_a_list,
    "frozen layers in a list": lambda: steps([nn.Linear(3, 3).requires_grad_(False)]),
    "layers in a list without a mode": lambda: steps([nn.ReLU()]),
    "frozen norm in eval mode in a list": lambda: steps([nn.BatchNorm1d(3).requires_grad_(False).eval()]),
    "random": lambda: Net(None, lambda net, x: x + torch.rand_like(x)),
    "random by another generator": lambda: Net(None, lambda net, x: x + random.random()),
    "random, with dropout of nothing in a list": lambda: Net(
        [nn.Dropout(0.0)], lambda net, x: net.more[0](x) + random.random()
    ),
    "buffer with a gradient": lambda: with_buffer(),
    "frozen dropout in a list": lambda: steps([nn.Dropout(0.5).eval()]),
    "dropout of nothing in a list": lambda: steps([nn.Dropout(0.0)]),
    "global dropout in eval mode": lambda: Net(None, lambda net, x: EVAL(x)),
    "checkpointed": lambda: Net(
        None, lambda net, x: torch.utils.checkpoint.checkpoint(torch.relu, x, use_reentrant=False)
    ),
    "weight norm": lambda: nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(16, 3))
    ),
    "spectral norm": lambda: nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.spectral_norm(nn.Linear(16, 3))
    ),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
    "compiled": lambda: torch.compile(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), backend="eager"),
    "DataParallel": lambda: nn.DataParallel(nn.Sequential(nn.Flatten(), nn.Linear(16, 3))),
}


@pytest.mark.parametrize("kind", FINE)
def test_other_networks_pass_and_are_left_as_they_were(kind):
    net = build_user_net(FINE[kind], SPEC, seed=0)
    state, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    check_whole_state(net, "mine", SHAPE)
    assert unswitched_layers(net, SHAPE) == ""
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert "training" not in vars(nn.Module)
    assert not EVAL.training


def test_proofs_compile_no_copies():
    calls = []
    net = torch.compile(Net(), backend=lambda graph, inputs: calls.append(1) or graph.forward)
    check_copies(net, "mine", SHAPE)
    check_whole_state(net, "mine", SHAPE)
    assert calls == []
