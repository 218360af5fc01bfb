"""Every attack leaves the network, its inputs and the generators as they were."""

import copy
from collections.abc import Iterator

import pytest
import torch
from contract_case import (
    ATTACKS,
    BLACK_BOXES,
    CLASSES,
    THREAT,
    WITHOUT_START,
    Net,
    contract_batch,
    contract_net,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from attacks import PGD, InputError, eval_mode


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


def test_the_network_is_left_as_it_was_when_the_labels_are_refused(net, batch):
    before = state(net)
    with pytest.raises(InputError):
        PGD(THREAT).run(net, batch[0], batch[1] + CLASSES)
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


@pytest.mark.parametrize("wrapped", [False, True], ids=["module", "function"])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_parameter_gradient_is_computed(name, wrapped, net, batch):
    fired = []
    for called, parameter in net.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda _, called=called: fired.append(called))
    net(batch[0]).sum().backward()
    assert fired  # the hooks work
    fired.clear()
    before = state(net.eval())
    ATTACKS[name].run((lambda x: net(x)) if wrapped else net, *batch)
    assert not fired
    assert_same_state(net, before)


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
    with WeightGradients() as seen:
        net(batch[0]).sum().backward()
    assert any(seen.computed)  # the witness sees
    with WeightGradients() as seen:
        ATTACKS[name].run((lambda x: net(x)) if wrapped else net, *batch)
    assert bool(seen.computed) == (name not in BLACK_BOXES)
    assert not any(seen.computed)


def test_eval_mode_restores_modes_and_gradients_on_errors_too(net):
    before = state(net)

    def fail_inside() -> None:
        with eval_mode(net):
            assert not any(module.training for module in net.modules())
            assert not any(p.requires_grad for p in net.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert_same_state(net, before)


@pytest.mark.parametrize("in_place", [True, False])
def test_buffers_that_a_network_changes_in_eval_mode_are_put_back(in_place, batch):
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(108, CLASSES)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, images: Tensor) -> Tensor:
            if in_place:
                self.calls += 1
            else:
                self.calls = self.calls + 1
            return self.linear(images.flatten(1))

    net = Counting()
    before = net.calls
    PGD(THREAT, steps=2).run(net, *batch)
    assert net.calls is before
    assert float(net.calls) == 0


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


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_works_where_gradients_are_off(name, net, batch):
    expected = ATTACKS[name](net, *batch)
    with torch.no_grad():
        assert torch.equal(ATTACKS[name](net, *batch), expected)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_global_generator_is_neither_read_nor_moved(name, net, batch):
    torch.manual_seed(0)
    first = ATTACKS[name](net, *batch)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(ATTACKS[name](net, *batch), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
