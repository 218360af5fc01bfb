"""Every attack leaves network, inputs and generators as they were, and refuses odd networks or copes."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from unchanged_net import unchanged

from robust_tickets.attacks import (
    APGD,
    FGSM,
    PGD,
    APGDTargeted,
    Attack,
    Ensemble,
    InputError,
    RunOptions,
    Square,
    ThreatModel,
    TorchAttack,
    eval_mode,
)

THREAT, L2 = ThreatModel("Linf", 0.1), ThreatModel("L2", 0.6)
GRADIENT = {
    "fgsm": FGSM(THREAT),
    "pgd": PGD(THREAT, steps=3),
    "pgd with restarts": PGD(THREAT, steps=2, restarts=2),
    "fgm in L2": FGSM(L2),
    "pgd in L2": PGD(L2, steps=3, restarts=2),
    "apgd": APGD(THREAT, steps=3, restarts=2),
    "apgd in L2": APGD(L2, steps=3, loss="dlr"),
    "targeted apgd": APGDTargeted(THREAT, steps=2, targets=2),
    "ensemble": Ensemble([FGSM(THREAT), Square(THREAT, queries=3), APGD(THREAT, steps=2)]),
}
BLACK_BOXES = {"square": Square(THREAT, queries=4, restarts=2), "square in L2": Square(L2, queries=4)}
THIRD_PARTY = {
    "fgsm of torchattacks": TorchAttack(THREAT, "FGSM"),
    "pgd of torchattacks": TorchAttack(THREAT, "PGD", steps=3),
}
ATTACKS = GRADIENT | BLACK_BOXES | THIRD_PARTY


def each(attacks: dict[str, Attack]):
    return pytest.mark.parametrize("attack", attacks.values(), ids=attacks)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Five random images with labels of all classes."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 3, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3, 0])


@pytest.fixture
def net(batch) -> nn.Sequential:
    """A network in training, with statistics and gradients; one norm in eval mode, some weights frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolutions = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 6, 3)
        norms = nn.BatchNorm2d(4), nn.BatchNorm2d(6)
        body = convolutions[0], norms[0], nn.ReLU(), convolutions[1], norms[1], nn.ReLU()
        net = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 4))
        for _ in range(3):
            net.zero_grad(set_to_none=True)
            net(batch[0]).square().sum().backward()
    norms[1].eval()
    for frozen in (convolutions[0].weight, norms[1].bias):
        frozen.requires_grad_(False)
    convolutions[1].bias.grad = None
    return net


@each(ATTACKS)
def test_every_pass_runs_in_eval_mode_and_the_network_is_left_as_it_was(attack, net, batch):
    seen = []
    assert {module.training for module in net.modules()} == {True, False}

    def look(module: nn.Module, _: object) -> None:
        seen.append(any(m.training for m in net.modules()) or any(p.requires_grad for p in net.parameters()))

    net.register_forward_pre_hook(look)
    with unchanged(net):
        attack.run(net, *batch)
        attack(net, *batch)
    assert len(seen) > 1
    assert not any(seen)


@pytest.mark.parametrize("raise_at", [1, 2])
@each(ATTACKS)
def test_the_network_is_left_as_it_was_when_it_raises(attack, raise_at, net, batch):
    with eval_mode(net), torch.no_grad():
        labels = net(batch[0]).argmax(1)  # its own, so that no attack ends at its first look
    passes = []

    def break_down(*_: object) -> None:
        passes.append(1)
        if len(passes) == raise_at:
            raise RuntimeError("the net broke down")

    net[3].register_forward_pre_hook(break_down)
    with unchanged(net), pytest.raises(RuntimeError, match="the net broke down"):
        attack.run(net, batch[0], labels)


class WeightGradients(TorchDispatchMode):
    """Lists for each convolution that is differentiated whether its weight's gradient was computed."""

    def __init__(self) -> None:
        super().__init__()
        self.computed: list[bool] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.computed.append(args[-1][1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("wrapped", [False, True], ids=["module", "function"])
@each(ATTACKS)
def test_a_backward_goes_to_the_input_alone(attack, wrapped, net, batch):
    fired = []
    for called, parameter in net.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda _, called=called: fired.append(called))
    with WeightGradients() as seen:
        net(batch[0]).sum().backward()
    assert fired  # both witnesses see
    assert any(seen.computed)
    fired.clear()
    with unchanged(net.eval()), WeightGradients() as seen:
        attack.run((lambda x: net(x)) if wrapped else net, *batch)
    assert bool(seen.computed) == (attack not in BLACK_BOXES.values())
    assert not any(seen.computed)
    assert not fired


@pytest.mark.parametrize("in_place", [True, False])
def test_buffers_that_a_network_changes_in_eval_mode_are_put_back(in_place, net, batch):
    def count(module: nn.Module, _: object) -> None:
        if in_place:
            module.calls += 1
        else:
            module.calls = module.calls + 1

    calls = torch.zeros(())
    net.register_buffer("calls", calls)
    net.register_forward_pre_hook(count)
    PGD(THREAT, steps=2).run(net, *batch)
    assert net.calls is calls
    assert float(calls) == 0


@each(ATTACKS)
def test_images_labels_and_start_are_left_alone(attack, net, batch):
    images, labels = batch
    start = (images + 0.05).clamp(0, 1)
    before = images.clone(), labels.clone(), start.clone()
    result = attack.run(net, images, labels, start=None if attack in THIRD_PARTY.values() else start)
    for now, then in zip((images, labels, start), before, strict=True):
        assert torch.equal(now, then)
    assert result.images.data_ptr() not in (images.data_ptr(), start.data_ptr())
    assert not result.images.requires_grad


@each(ATTACKS)
def test_images_that_want_gradients_get_none(attack, net, batch):
    images, labels = batch
    plain = attack(net, images, labels, seed=0)
    images.requires_grad_(True)
    torch.set_warn_always(True)  # PyTorch's own warnings each time, not once a process
    try:
        adversarial = attack(net, images, labels, seed=0)
    finally:
        torch.set_warn_always(False)
    assert not adversarial.requires_grad
    assert images.grad is None
    assert torch.equal(adversarial, plain)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@each(ATTACKS)
def test_the_caller_s_mode_changes_nothing(attack, mode, net, batch):
    expected = attack(net, *batch, seed=0)
    with mode():
        assert torch.equal(attack(net, batch[0].clone(), batch[1].clone(), seed=0), expected)


@each(ATTACKS)
def test_with_a_seed_the_global_generator_is_neither_read_nor_moved(attack, net, batch):
    torch.manual_seed(0)
    first, before = attack(net, *batch, seed=0), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(attack(net, *batch, seed=0), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), before)


RANDOM = {name: attack for name, attack in ATTACKS.items() if not name.startswith("fg")}


@each(RANDOM)
def test_without_a_seed_each_call_draws_afresh_from_the_generator_of_pytorch(attack, net, batch):
    def points() -> Tensor:
        """All images that the network is asked about in one call."""
        seen = []

        def ask(images: Tensor) -> Tensor:
            seen.append(images.detach().clone())
            return net(images)

        attack(ask, *batch)
        return torch.cat(seen)

    net.eval()
    torch.manual_seed(0)
    first, second = points(), points()
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(points(), first)
    assert torch.equal(points(), second)


@pytest.mark.parametrize("attack", [FGSM(THREAT), PGD(THREAT, random_start=False)])
def test_an_attack_that_draws_nothing_leaves_the_generator_alone(attack, net, batch):
    before = torch.get_rng_state()
    attack(net, *batch)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("label", [0, 1])
@each(ATTACKS)
def test_logits_that_are_nan_are_refused_and_never_robust(attack, label, net, batch):
    labels = torch.full_like(batch[1], label)

    def broken(images: Tensor) -> Tensor:
        return net(images) * float("nan")

    message = r"NaN logits for (5 of 5|1 of 1) images: its weights are damaged"
    with pytest.raises(InputError, match=message):
        attack.run(broken, batch[0], labels)
    assert attack.run(broken, batch[0], labels, options=RunOptions(check=False)).broken.all()


UNSEEN = r"the network has no gradient to its images.*black-box attack, square"


@pytest.mark.parametrize("cut", [lambda z: z.detach(), lambda z: torch.zeros_like(z).requires_grad_()])
@each(GRADIENT | THIRD_PARTY)
def test_a_network_without_gradients_is_refused_in_words(attack, cut, net, batch):
    with pytest.raises(InputError, match=UNSEEN):
        attack.run(lambda x: cut(net(x)), *batch)


def test_a_network_that_computes_outside_torch_is_refused_in_words(net, batch):
    with pytest.raises(InputError, match=UNSEEN):
        PGD(THREAT, steps=2).run(lambda x: net(torch.from_numpy(x.numpy().copy())), *batch)


@each(BLACK_BOXES)
def test_a_black_box_needs_no_gradients(attack, net, batch):
    net.eval()
    result = attack.run(lambda x: net(x).detach(), *batch, seed=0)
    assert result.backwards == 0
    assert torch.equal(result.images, attack(net, *batch, seed=0))


@each(THIRD_PARTY)
def test_a_start_that_an_attack_cannot_take_is_refused(attack, net, batch):
    with pytest.raises(InputError, match="has a start of its own: leave out start"):
        attack.run(net, *batch, start=batch[0])


@each(ATTACKS)
def test_half_precision_logits_are_fine(attack, net, batch):
    """As a network with autocast inside gives them."""
    result = attack.run(lambda x: net.eval()(x).bfloat16(), *batch)
    assert result.images.dtype == batch[0].dtype
    assert attack.threat.allows(result.images, batch[0]).all()
