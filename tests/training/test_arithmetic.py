"""What precision and torch.compile change in a training, and machines that lack them."""

import copy
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_case import EveryState, same_state, train

from robust_tickets.attacks import PGD, ThreatModel
from robust_tickets.base import devices
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.progress import StageProgress
from robust_tickets.base.random_streams import use_seed
from robust_tickets.models.fold import fold
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.models.weights import copy_state
from robust_tickets.recipe.fields import Compute
from robust_tickets.training import precision as precision_module
from robust_tickets.training.config import Session
from robust_tickets.training.loop import fit
from robust_tickets.training.monitors import DivergedError
from robust_tickets.training.precision import Bfloat16, training_networks

IMAGES = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(64) % 10
THREAT = ThreatModel("Linf", 8 / 255)


class Warnings(StageProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(autouse=True)
def _nothing_shown_yet(monkeypatch):
    monkeypatch.setattr("robust_tickets.training.monitors._PAST_WARNINGS", set())


@pytest.fixture
def bf16():
    if not precision_module.has_bfloat16("cpu"):
        pytest.skip("this CPU does not compute in bfloat16")


def net_of(name: str = "vgg16"):
    return build(ModelSpec(name, 0.125, (3, 32, 32), 10, (0.5,) * 3, (0.25,) * 3), seed=0)


def compute(**fields):
    return Compute(threads=1, **fields)


@pytest.mark.parametrize("precision", ["float32", "bf16-attack", "bf16"])
def test_which_passes_are_in_bfloat16(precision, bf16, conv_net, tiny_data, config):
    """The attack's or also the update's; never validation's; weights and attacked images stay float32."""
    dtypes: dict[str, set[torch.dtype]] = {}
    ledger = Ledger("train")

    def look(layer, inputs, output):
        if type(layer) is nn.Conv2d:
            dtypes.setdefault(ledger._open[-1], set()).add(output.dtype)

    conv_net.layer1[0].conv1.register_forward_hook(look)  # the update's; a hooked layer is not folded
    with nn.modules.module.register_module_forward_hook(look), ledger.measure():
        fit(conv_net, None, tiny_data, replace(config, compute=compute(precision=precision)), Session(ledger))
    low, full = {torch.bfloat16}, {torch.float32}
    assert dtypes["attack"] == (full if precision == "float32" else low)
    assert dtypes["update"] == (low if precision == "bf16" else full)
    assert dtypes["validate"] == full
    assert all(p.dtype == torch.float32 for p in conv_net.parameters())


class Casts(TorchDispatchMode):
    """Counts the tensors that are rounded to bfloat16."""

    number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.number += func is torch.ops.aten._to_copy.default and kwargs.get("dtype") is torch.bfloat16
        return func(*args, **kwargs)


def logits_and_gradient(net: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    images = images.clone().requires_grad_()
    logits = net(images)
    return [logits.detach(), *torch.autograd.grad(logits.logsumexp(1).sum(), images)]


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_folded_weights_are_rounded_once_a_refresh(name, bf16):
    """With the bits of autocast, which rounds them in each pass; a validation has those of float32."""
    net = net_of(name)
    folded, other = fold(net), fold(net)
    low = Bfloat16(folded)

    def autocast(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return other(images).float()

    with Casts() as casts:
        low(IMAGES)
    assert casts.number == 1 + 2  # the images, and the last layer, which has no BatchNorm
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(2):
        for ours, theirs in (low, autocast), (folded, other):
            for one, two in zip(
                *(logits_and_gradient(each, IMAGES[:8]) for each in (ours, theirs)), strict=True
            ):
                assert torch.equal(one, two)
        net(IMAGES).logsumexp(1).sum().backward()
        optimiser.step()
        folded.refresh()
        other.refresh()
    assert {p.dtype for p in folded.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["vgg16", "resnet20", "resnet18"])
def test_an_attack_in_bfloat16_is_as_strong(name, bf16):
    """The loss that PGD-7 gains is the one that it gains in float32, to 2 %, held against the float32 net."""
    net = net_of(name)
    with torch.no_grad():  # statistics of the images, as in training
        for _ in range(30):
            net.train()(IMAGES)
    folded = fold(net)
    nets, warnings = training_networks(net, folded, compute(precision="bf16-attack"), IMAGES)
    attack = PGD(THREAT, steps=7)

    def loss(images):
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(folded(images), LABELS))

    exact, near = (attack(form, IMAGES, LABELS, seed=0) for form in (folded, nets.attack))
    assert warnings == []
    assert near.dtype == torch.float32
    assert bool(THREAT.allows(near, IMAGES).all())
    assert loss(near) - loss(IMAGES) >= 0.98 * (loss(exact) - loss(IMAGES))
    assert not torch.equal(exact, near)


@pytest.mark.parametrize("ends", ["well", "diverged"])
def test_which_passes_are_in_tf32(ends, conv_net, tiny_data, config, monkeypatch):
    """Those of steps, forward and backward; never validation's. Torch's switches are off afterwards."""
    monkeypatch.setattr(precision_module, "has_tf32", lambda device: True)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    switches: dict[str, set[tuple[object, ...]]] = {}
    ledger = Ledger("train")

    def look(*_):
        state = (cudnn.conv.fp32_precision, matmul.fp32_precision, cudnn.allow_tf32, matmul.allow_tf32)
        switches.setdefault(ledger._open[-1], set()).add(state)

    conv_net.layer1[0].conv1.register_forward_hook(look)
    conv_net.layer1[0].conv1.weight.register_hook(look)
    if ends == "diverged":
        config = replace(config, settings=replace(config.settings, lr=1e9))
    off = ("ieee", "ieee", False, False)
    devices.prepare_cuda()
    with (
        nn.modules.module.register_module_forward_hook(look),
        ledger.measure(),
        nullcontext() if ends == "well" else pytest.raises(DivergedError),
    ):
        fit(conv_net, None, tiny_data, replace(config, compute=compute(precision="tf32")), Session(ledger))
    assert switches["attack"] == switches["update"] == {("tf32", "tf32", True, True)}
    assert switches.get("validate", {off}) == {off}
    assert ledger.report()["precision"] == "tf32"
    assert (cudnn.conv.fp32_precision, matmul.fp32_precision, cudnn.allow_tf32, matmul.allow_tf32) == off


@pytest.mark.parametrize("precision", ["bf16-attack", "bf16"])
def test_trainings_in_bfloat16_learn_the_same(precision, bf16, conv_net, tiny_data, config):
    """Their losses follow float32's, and a training that was stopped goes on to the same bits."""
    # a step at 0.05 makes much of a rounding
    config = replace(config, settings=replace(config.settings, lr=0.005))
    exact, _ = train(copy.deepcopy(conv_net), None, tiny_data, config)
    config = replace(config, compute=compute(precision=precision))
    every = EveryState()
    whole, _ = train(copy.deepcopy(conv_net), None, tiny_data, config, checkpointer=every)
    for one, other in zip(whole.history, exact.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=0.03)
    middle = next(state for state in every.states if state["step"] == config.steps // 2)
    rest, _ = train(copy.deepcopy(conv_net), None, tiny_data, config, saved=middle)
    assert same_state(rest.last, whole.last)


def test_compiled_passes_are_the_nets(tiny_data, config):
    """Logits, gradients and statistics, in training and in the attack; and the net is left as it was."""
    if precision_module._compile_error("cpu") is not None:
        pytest.skip("this machine has no compiler")
    with use_seed(0):
        layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)]
    net = nn.Sequential(*layers).train()
    images = torch.rand(32, *tiny_data.spec.shape, generator=torch.Generator().manual_seed(0))
    folded, before = fold(net), copy_state(net)
    generator = torch.get_rng_state()
    nets, warnings = training_networks(net, folded, compute(compile=True), images)
    assert warnings == []
    assert same_state(copy_state(net), before)
    assert torch.equal(torch.get_rng_state(), generator)
    assert net.training
    assert all(p.grad is None for p in net.parameters())

    plain = copy.deepcopy(net)
    for form, other in ((nets.update, plain), (nets.attack, folded)):
        point, other_point = images.clone().requires_grad_(), images.clone().requires_grad_()
        one, two = form(point), other(other_point)
        one[:, 1].sum().backward()
        two[:, 1].sum().backward()
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(point.grad, other_point.grad, atol=1e-4, rtol=1e-3)
    for (name, one), two in zip(net.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-3, rtol=1e-3, msg=name)
    for one, two in zip(net.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)

    exact, _ = train(copy.deepcopy(plain), None, tiny_data, config)
    result, ledger = train(plain, None, tiny_data, replace(config, compute=compute(compile=True)))
    assert ledger.seconds["compile"] > 0
    assert result.history[0]["train_loss"] == pytest.approx(exact.history[0]["train_loss"], rel=0.02)


AUTO = {
    "instructions that are right": (True, True, "bf16"),
    "instructions that are wrong": (True, False, "float32"),
    "no instructions": (False, True, "float32"),
}


@pytest.mark.parametrize("machine", AUTO)
def test_auto_is_what_the_machine_does_well_and_the_ledger_says_what_it_was(
    machine, conv_net, tiny_data, config, monkeypatch
):
    has, holds, expected = AUTO[machine]
    monkeypatch.setattr(precision_module, "has_bfloat16", lambda device: has)
    monkeypatch.setattr(precision_module, "bfloat16_holds", lambda device: holds)
    results = []
    for precision in ("auto", expected):
        ledger = Ledger("train")
        own = replace(config, compute=compute(precision=precision))
        with ledger.measure():
            results.append(fit(copy.deepcopy(conv_net), None, tiny_data, own, Session(ledger)))
        assert ledger.report()["precision"] == expected
    assert same_state(results[0].last, results[1].last)
    assert not any("bfloat16" in text for text in results[0].warnings)


def test_a_machine_whose_bfloat16_is_wrong_is_found_out(monkeypatch):
    holds = precision_module.bfloat16_holds.__wrapped__
    assert holds("cpu")  # by instructions, or emulated
    exact = nn.functional.conv2d

    def coarse(x, w, padding):
        return exact(x, w if w.dtype != torch.bfloat16 else w * 1.02, padding=padding)

    monkeypatch.setattr(precision_module.F, "conv2d", coarse)
    assert not holds("cpu")


def broken(*_, **__):
    raise RuntimeError("no C++ compiler: g++ was not found\nand a long trace")


def no_compiler(*_):
    return RuntimeError("no g++\nmore")


LACKS = {
    "bfloat16": ({"precision": "bf16"}, "has_bfloat16", lambda device: False, "instructions for bfloat16"),
    "TF32": ({"precision": "tf32"}, "has_tf32", lambda device: False, "instructions for TF32"),
    "compiler": ({"compile": True}, "_compile_error", no_compiler, r"\(no g\+\+\)"),
    "this net": ({"compile": True}, "_warm_up", broken, "g.. was not found"),
}


@pytest.mark.parametrize("lacks", LACKS)
def test_what_the_machine_lacks_is_reported_once_and_done_without(
    lacks, conv_net, tiny_data, config, monkeypatch
):
    fields, name, stands_in, pattern = LACKS[lacks]
    exact, _ = train(copy.deepcopy(conv_net), None, tiny_data, config)
    monkeypatch.setattr("robust_tickets.training.precision._compile_error", lambda device: None)
    monkeypatch.setattr(f"robust_tickets.training.precision.{name}", stands_in)
    config, meter = replace(config, compute=compute(**fields)), Warnings()
    every = EveryState()
    first, _ = train(copy.deepcopy(conv_net), None, tiny_data, config, meter, checkpointer=every)
    resumed, _ = train(copy.deepcopy(conv_net), None, tiny_data, config, meter, saved=every.states[-1])
    for result in (first, resumed):  # kept with each training's account, and shown once
        assert same_state(result.last, exact.last)
        assert result.warnings == first.warnings
    (text,) = [warning for warning in meter.warnings if warning.startswith("compute.")]
    assert first.warnings.count(text) == 1
    assert "using float32" in text or "training without it" in text
    assert "\n" not in text
    assert re.search(pattern, text)
