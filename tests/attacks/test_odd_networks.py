"""Networks that give NaN, no gradient or another type: every attack refuses them, or copes."""

import pytest
import torch
from contract_case import ATTACKS, BLACK_BOXES, THREAT, WITHOUT_START, Net, contract_batch, contract_net
from torch import Tensor

from attacks import PGD, InputError, RunOptions


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return contract_batch()


@pytest.fixture
def net(batch) -> Net:
    return contract_net(batch)


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


@pytest.mark.parametrize("cut", [lambda z: z.detach(), lambda z: torch.zeros_like(z).requires_grad_()])
@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in BLACK_BOXES])
def test_a_network_without_gradients_is_refused_in_words(name, cut, net, batch):
    with pytest.raises(
        InputError, match=r"the network has no gradient to its images.*black-box attack, square"
    ):
        ATTACKS[name].run(lambda x: cut(net(x)), *batch)


def test_a_network_that_computes_outside_torch_is_refused_in_words(net, batch):
    with pytest.raises(
        InputError, match=r"the network has no gradient to its images.*black-box attack, square"
    ):
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
