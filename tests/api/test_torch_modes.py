"""Public functions give the same bits in any mode of PyTorch that their caller is in."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from own_case import RECIPE, build_net, equal, own_images

import robust_tickets
from robust_tickets.attacks import FGSM, PGD, InputError, Square, ThreatModel
from robust_tickets.models.user_net import build_user_net

pytestmark = pytest.mark.filterwarnings("ignore:.*(there are enough images|the net collapsed|than chance)")


@contextmanager
def wide() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "no_grad": torch.no_grad,
    "inference mode": torch.inference_mode,
    "float64": wide,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device": lambda: torch.device("meta"),
}


def results(module):
    """What each public function gives."""
    data = own_images()
    ticket = robust_tickets.find_ticket(build_net, data, RECIPE)
    trained = robust_tickets.train(module, data, ticket, RECIPE)
    table = robust_tickets.evaluate(trained.net, data, RECIPE, attacks=("clean", "pgd-2"))
    return data.fingerprint, ticket.hash, trained.last, table.accuracy.tolist()


@pytest.fixture(scope="module")
def expected():
    return results(build_net())


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_changes_no_bit_and_stays(mode, expected, monkeypatch):
    module, data = build_net(), own_images()
    # images of a user are there before the mode, or made on a device that has data
    monkeypatch.setattr(f"{__name__}.own_images", lambda: data)
    with MODES[mode]():
        before = modes()
        if mode == "inference mode":
            module = build_net()
        found = results(module)
        assert modes() == before
    for one, other in zip(found, expected, strict=True):
        assert equal(one, other) if isinstance(one, dict) else one == other


def modes() -> tuple[object, ...]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_autocast_enabled("cpu"),
    )


def test_images_of_any_mode_are_the_same():
    for mode in ("no_grad", "inference mode", "autocast"):
        with MODES[mode]():
            assert own_images().fingerprint == own_images().fingerprint
            images = own_images()
        robust_tickets.find_ticket(build_net, images, RECIPE, search={"rounds": 1})


FEW_QUERIES = partial(Square, queries=50)


@pytest.mark.parametrize("attack", [FGSM, PGD, FEW_QUERIES], ids=["FGSM", "PGD", "Square"])
def test_attacks_in_inference_mode_work_or_are_a_line(attack):
    threat = ThreatModel("Linf", 0.1)
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4) % 3
    net = build_net().eval()
    plain = attack(threat)(net, images, labels, seed=0)
    with torch.inference_mode():
        assert torch.equal(attack(threat)(net, images.clone(), labels.clone(), seed=0), plain)
        made = build_net().eval()
        if attack is FEW_QUERIES:
            assert attack(threat)(made, images, labels).shape == images.shape
        else:
            with pytest.raises(InputError, match=r"made within torch\.inference_mode.*outside of that mode"):
                attack(threat)(made, images, labels)
        assert all(parameter.requires_grad for parameter in made.parameters())


def test_a_wide_network_is_told_from_narrow_images():
    from robust_tickets.models.registry import ModelSpec

    spec = ModelSpec("my_nets:net", 1.0, (1, 8, 8), 3, (0.0,), (1.0,))
    with pytest.raises(InputError, match=r"0\.weight is float64: return net\.float\(\)"):
        build_user_net(lambda: build_net().double(), spec, seed=0)
