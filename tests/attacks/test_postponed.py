"""Checks that are read together: the same errors as if each were read at once, the first of them."""

import pytest
import torch
from small_nets import SHAPE
from torch import Tensor

from robust_tickets.attacks import PGD, APGDTargeted, InputError, RunOptions, ThreatModel
from robust_tickets.attacks.postponed import PostponedChecks

IMAGES = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(6) % 5
ATTACK = PGD(ThreatModel("Linf", 0.1), steps=4)


def fault(name):
    return lambda count: InputError(f"{name} {count}")


def test_numbers_come_in_their_order_and_checks_once():
    checks = PostponedChecks()
    checks.add(torch.tensor(0), fault("first"))
    assert checks.read(torch.tensor(5), torch.tensor(7)) == [5, 7]
    checks.add(torch.tensor(2), fault("second"))
    checks.add(torch.tensor(3), fault("third"))
    with pytest.raises(InputError, match=r"^second 2$"):
        checks.read()
    assert checks.read() == []


def test_a_fault_is_not_postponed_for_ever():
    checks = PostponedChecks()
    checks.add(torch.tensor(1), fault("first"))

    def go_on() -> None:
        for _ in range(1000):
            checks.add(torch.tensor(0), fault("later"))

    with pytest.raises(InputError, match=r"^first 1$"):
        go_on()


class Failing:
    """NaN for some images at first; at the second call an error of its own."""

    def __init__(self, fails: bool) -> None:
        self.calls, self.fails = 0, fails

    def __call__(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 1 and self.fails:
            raise RuntimeError("too late")
        logits = images.flatten(1)[:, :5] * 1
        return torch.where((torch.arange(len(logits)) < 2)[:, None], torch.nan, logits)


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_nan_is_the_fault_that_is_named_whatever_follows(stop, fails):
    net = Failing(fails)
    with pytest.raises(InputError, match=r"^the network gave NaN logits for 2 of 6 images"):
        ATTACK.run(net, IMAGES, LABELS, options=RunOptions(stop_when_broken=stop))


def test_a_write_that_counts_no_version_is_undone_when_it_is_seen():
    def net(images: Tensor) -> Tensor:
        images.data.mul_(0.5)
        return images.flatten(1)[:, :5] * 1

    images = IMAGES.clone()  # which this attack shows to the network as they are
    with pytest.raises(InputError, match="writes into its images"):
        APGDTargeted(ATTACK.threat, steps=2).run(net, images, LABELS)
    assert torch.equal(images, IMAGES)
