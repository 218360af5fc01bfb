"""Every attack leaves network, inputs and generators as they were, and refuses odd networks or copes."""

import copy
from collections.abc import Iterator

import pytest
import torch
from contract_case import (
    ATTACKS,
    BLACK_BOXES,
    THREAT,
    WITHOUT_START,
    Net,
    contract_batch,
    contract_net,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from attacks import PGD, InputError, RunOptions, eval_mode


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return contract_batch()


@pytest.fixture
def net(batch) -> Net:
    return contract_net(batch)


def right(net: Net, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The images with the network's own labels, so that no attack ends at its first look."""
    with eval_mode(net), torch.no_grad():
        labels = net(batch[0]).argmax(1)
    net.passes = 0
    return batch[0], labels


def state(net: nn.Module) -> dict[str, object]:
    """A copy of all that an attack must leave alone."""
    return {
        "modes": {name: module.training for name, module in net.named_modules()},
        "trainable": {name: p.requires_grad for name, p in net.named_parameters()},
        "gradients": {name: copy.deepcopy(p.grad) for name, p in net.named_parameters()},
        "gradient objects": {name: id(p.grad) for name, p in net.named_parameters() if p.grad is not None},
        "parameters": {name: p.detach().clone() for name, p in net.named_parameters()},
        "buffers": {name: b.clone() for name, b in net.named_buffers()},
    }


def assert_same_state(net: nn.Module, before: dict[str, object]) -> None:
    after = state(net)
    for kind in ("modes", "trainable", "gradient objects"):
        assert after[kind] == before[kind], kind
    for kind in ("gradients", "parameters", "buffers"):
        assert after[kind].keys() == before[kind].keys()
        for name, value in before[kind].items():
            now = after[kind][name]
            assert (now is None) == (value is None), name
            assert value is None or torch.equal(now, value), name


@pytest.mark.parametrize("name", ATTACKS)
def test_the_network_is_left_as_it_was(name, net, batch):
    before = state(net)
    assert before["modes"]["bn1"] is True
    assert before["modes"]["bn2"] is False
    ATTACKS[name].run(net, *batch)
    ATTACKS[name](net, *batch)
    assert net.passes > 1
    assert_same_state(net, before)


@pytest.mark.parametrize("raise_at", [0, 1])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_network_is_left_as_it_was_when_it_raises(name, raise_at, net, batch):
    before = state(net)
    net.raise_at = raise_at
    with pytest.raises(RuntimeError, match="the net broke down"):
        ATTACKS[name].run(net, *right(net, batch))
    assert net.passes == raise_at
    assert_same_state(net, before)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_pass_runs_in_eval_mode_without_trainable_parameters(name, net, batch):
    seen = []

    def look(module: nn.Module, _: object) -> None:
        seen.append(
            any(m.training for m in module.modules()) or any(p.requires_grad for p in net.parameters())
        )

    net.register_forward_pre_hook(look)
    ATTACKS[name].run(net, *batch)
    assert seen
    assert not any(seen)


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
@pytest.mark.parametrize("name", ATTACKS)
def test_a_backward_goes_to_the_input_alone(name, wrapped, net, batch):
    fired = []
    for called, parameter in net.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda _, called=called: fired.append(called))
    with WeightGradients() as seen:
        net(batch[0]).sum().backward()
    assert fired  # both witnesses see
    assert any(seen.computed)
    fired.clear()
    before = state(net.eval())
    with WeightGradients() as seen:
        ATTACKS[name].run((lambda x: net(x)) if wrapped else net, *batch)
    assert bool(seen.computed) == (name not in BLACK_BOXES)
    assert not any(seen.computed)
    assert not fired
    assert_same_state(net, before)


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


@pytest.mark.parametrize("name", ATTACKS)
def test_images_labels_and_start_are_left_alone(name, net, batch):
    images, labels = batch
    start = (images + 0.05).clamp(0, 1)
    before = images.clone(), labels.clone(), start.clone()
    result = ATTACKS[name].run(net, images, labels, start=None if name in WITHOUT_START else start)
    for now, then in zip((images, labels, start), before, strict=True):
        assert torch.equal(now, then)
    assert result.images.data_ptr() not in (images.data_ptr(), start.data_ptr())
    assert not result.images.requires_grad


@pytest.fixture
def every_warning() -> Iterator[None]:
    """PyTorch's own warnings each time, not once a process."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.usefixtures("every_warning")
def test_images_that_want_gradients_get_none(name, net, batch):
    images, labels = batch
    plain = ATTACKS[name](net, images, labels)
    images.requires_grad_(True)
    adversarial = ATTACKS[name](net, images, labels)
    assert not adversarial.requires_grad
    assert images.grad is None
    assert torch.equal(adversarial, plain)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ATTACKS)
def test_the_caller_s_mode_changes_nothing(name, mode, net, batch):
    expected = ATTACKS[name](net, *batch)
    with mode():
        assert torch.equal(ATTACKS[name](net, batch[0].clone(), batch[1].clone()), expected)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_global_generator_is_neither_read_nor_moved(name, net, batch):
    torch.manual_seed(0)
    first = ATTACKS[name](net, *batch)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(ATTACKS[name](net, *batch), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("name", ATTACKS)
def test_logits_that_are_nan_are_refused_and_never_robust(name, label, net, batch):
    labels = torch.full_like(batch[1], label)

    def broken(images: Tensor) -> Tensor:
        return net(images) * float("nan")

    message = r"NaN logits for (5 of 5|1 of 1) images: its weights are damaged"
    with pytest.raises(InputError, match=message):
        ATTACKS[name].run(broken, batch[0], labels)
    assert ATTACKS[name].run(broken, batch[0], labels, options=RunOptions(check=False)).broken.all()


UNSEEN = r"the network has no gradient to its images.*black-box attack, square"


@pytest.mark.parametrize("cut", [lambda z: z.detach(), lambda z: torch.zeros_like(z).requires_grad_()])
@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in BLACK_BOXES])
def test_a_network_without_gradients_is_refused_in_words(name, cut, net, batch):
    with pytest.raises(InputError, match=UNSEEN):
        ATTACKS[name].run(lambda x: cut(net(x)), *batch)


def test_a_network_that_computes_outside_torch_is_refused_in_words(net, batch):
    with pytest.raises(InputError, match=UNSEEN):
        PGD(THREAT, steps=2).run(lambda x: net(torch.from_numpy(x.numpy().copy())), *batch)


@pytest.mark.parametrize("name", BLACK_BOXES)
def test_a_black_box_needs_no_gradients(name, net, batch):
    net.eval()
    result = ATTACKS[name].run(lambda x: net(x).detach(), *batch)
    assert result.backwards == 0
    assert torch.equal(result.images, ATTACKS[name](net, *batch))


@pytest.mark.parametrize("name", WITHOUT_START)
def test_a_start_that_an_attack_cannot_take_is_refused(name, net, batch):
    with pytest.raises(InputError, match="has a start of its own: leave out start"):
        ATTACKS[name].run(net, *batch, start=batch[0])


@pytest.mark.parametrize("name", ATTACKS)
def test_half_precision_logits_are_fine(name, net, batch):
    """As a network with autocast inside gives them."""
    net.eval()
    attack = ATTACKS[name]
    result = attack.run(lambda x: net(x).bfloat16(), *batch)
    assert result.images.dtype == batch[0].dtype
    assert attack.threat.allows(result.images, batch[0]).all()
