"""Networks that write into their images, programs of other formats, and modes that cannot be switched."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms import v2

from robust_tickets.attacks import APGD, PGD, Attack, InputError, Square, ThreatModel, TorchAttack
from robust_tickets.attacks.network import set_mode

THREAT = ThreatModel("Linf", 0.1)
ATTACKS = (
    PGD(THREAT, steps=2),
    APGD(THREAT, steps=2),
    Square(THREAT, queries=5),
    TorchAttack(THREAT, "PGD", steps=2),
)


def small_net() -> nn.Module:
    """A network with a BatchNorm, in eval mode."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3)]
    return nn.Sequential(*layers).eval()


class Before(nn.Module):
    """A network with something done to its images first."""

    def __init__(self, first: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = first
        self.net = small_net()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.first(images))


def normalise(images: Tensor) -> Tensor:
    return images.sub_(0.5).div_(0.25)


def masked(images: Tensor) -> Tensor:
    images[images < 0] = 0  # writes nothing here, but may
    return images


def part(images: Tensor) -> Tensor:
    images[:, :, 2:].mul_(0.5)
    return images


def several_views(images: Tensor) -> Tensor:
    first, second = images.split(3, 2)
    return torch.cat([first.relu_(), second], 2)


def data(images: Tensor) -> Tensor:
    images.data.sub_(0.1)
    return images


def numpy(images: Tensor) -> Tensor:
    images.detach().numpy()[...] -= 0.1
    return images


def autocast(images: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return images.sub_(0.5)


def copy_into(images: Tensor) -> Tensor:
    return images.copy_(images * 0.5)


def out(images: Tensor) -> Tensor:
    return torch.sub(images, 0.5, out=images)


def indexed(images: Tensor) -> Tensor:
    return images.index_put_((torch.tensor([0]),), torch.zeros(()))


def new_data(images: Tensor) -> Tensor:
    images.data = images.data * 0.5
    return images


def clamped_view(images: Tensor) -> Tensor:
    images.view(len(images), -1).clamp_(0.2, 0.8)
    return images


def rows(images: Tensor) -> Tensor:
    for row in images.unbind(0):
        row.sub_(0.5)
    return images


def shared_memory(images: Tensor) -> Tensor:
    torch.from_dlpack(images.detach()).sub_(0.1)
    return images


def without_graph_alone(images: Tensor) -> Tensor:
    return images if torch.is_grad_enabled() else data(images)


def with_graph_alone(images: Tensor) -> Tensor:
    return data(images) if torch.is_grad_enabled() else images


FURTHER = {
    "copy_": copy_into,
    "out=": out,
    "index_put_": indexed,
    "new data": new_data,
    "view": clamped_view,
    "rows": rows,
    "dlpack": shared_memory,
    "transforms": transforms.Normalize((0.5,), (0.25,), inplace=True),
    "transforms.v2": v2.Normalize((0.5,), (0.25,), inplace=True),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("first", FURTHER.values(), ids=FURTHER)
def test_other_ways_to_write_are_refused(attack: Attack, first: Callable[[Tensor], Tensor]) -> None:
    images = torch.rand(3, 1, 6, 6)
    before = images.clone()
    with pytest.raises(InputError, match="writes into its images"):
        attack.run(Before(first), images, torch.tensor([0, 1, 2]))
    assert torch.equal(images, before)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("first", [without_graph_alone, with_graph_alone], ids=lambda first: first.__name__)
def test_unseen_writes_in_one_mode_are_refused(attack: Attack, first: Callable[[Tensor], Tensor]) -> None:
    images, labels = torch.rand(3, 1, 6, 6), torch.tensor([0, 1, 2])
    before = images.clone()
    if isinstance(attack, Square) and first is with_graph_alone:  # it has no such passes
        twin = attack.run(Before(lambda x: x), images, labels, seed=0)
        assert torch.equal(attack.run(Before(first), images, labels, seed=0).images, twin.images)
    else:
        with pytest.raises(InputError, match="writes into its images"):
            attack.run(Before(first), images, labels)
    assert torch.equal(images, before)


@pytest.mark.filterwarnings("ignore")  # of dynamo, in its own code
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("first", [normalise, data, clamped_view], ids=lambda first: first.__name__)
def test_a_compiled_network_that_writes_is_refused(first: Callable[[Tensor], Tensor], backend: str) -> None:
    images = torch.rand(3, 1, 6, 6)
    before = images.clone()
    net = torch.compile(Before(first), backend=backend)
    for attack in (ATTACKS[0], ATTACKS[2]):
        with pytest.raises(InputError, match="writes into its images"):
            attack.run(net, images, torch.tensor([0, 1, 2]))
        assert torch.equal(images, before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_network_may_write_into_its_own_tensors(backend: str) -> None:
    images, labels = torch.rand(3, 1, 6, 6), torch.tensor([0, 1, 2])
    net = torch.compile(Before(lambda x: normalise(x.clone())), backend=backend)
    for attack in (ATTACKS[0], ATTACKS[2]):
        ours = attack.run(net, images, labels, seed=0)
        twin = attack.run(Before(lambda x: (x - 0.5) / 0.25), images, labels, seed=0)
        assert torch.equal(ours.broken, twin.broken)
        torch.testing.assert_close(ours.images, twin.images)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("first", [normalise, masked, part, several_views, data, numpy, autocast])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_network_that_writes_into_its_images_is_refused(
    attack: Attack, first: Callable[[Tensor], Tensor], layout: torch.memory_format
) -> None:
    images = torch.rand(3, 1, 6, 6).contiguous(memory_format=layout)
    before = images.clone()
    with pytest.raises(InputError, match=r"writes into its images.*images\.clone\(\)"):
        attack.run(Before(first), images, torch.tensor([0, 1, 2]))
    assert torch.equal(images, before)


def test_writes_into_own_tensors_are_the_networks_own_affair() -> None:
    images, labels = torch.rand(3, 1, 6, 6), torch.tensor([0, 1, 2])
    for attack in ATTACKS[:3]:
        ours = attack.run(Before(lambda x: normalise(x.clone())), images, labels, seed=0)
        twin = attack.run(Before(lambda x: (x - 0.5) / 0.25), images, labels, seed=0)
        assert torch.equal(ours.images, twin.images)


class ForgetsSelf(nn.Sequential):
    """A network whose train() does not return it."""

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    "kind", ["exported", "scripted", "traced", "frozen", "forgets self", "data parallel"]
)
def test_programs_of_other_formats_are_attacked_as_the_network(kind: str) -> None:
    net = small_net()
    images, labels = torch.rand(3, 1, 6, 6), torch.tensor([0, 1, 2])
    make: dict[str, Callable[[], nn.Module]] = {
        "exported": lambda: torch.export.export(
            net, (images,), dynamic_shapes=({0: torch.export.Dim("n")},)
        ).module(),
        "scripted": lambda: torch.jit.script(net),
        "traced": lambda: torch.jit.trace(net, images),
        "frozen": lambda: torch.jit.freeze(torch.jit.script(net)),
        "forgets self": lambda: ForgetsSelf(*net),
        "data parallel": lambda: nn.DataParallel(net),
    }
    program = make[kind]()
    modes = [getattr(module, "training", None) for module in program.modules()]
    ours = ATTACKS[0].run(program, images, labels, seed=0)
    assert torch.allclose(
        ours.images, ATTACKS[0].run(copy.deepcopy(small_net()), images, labels, seed=0).images
    )
    assert [getattr(module, "training", None) for module in program.modules()] == modes


@pytest.mark.parametrize("train", [True, False])
def test_a_network_whose_train_returns_nothing_is_switched_and_given(train: bool) -> None:
    net = ForgetsSelf(*small_net())
    assert set_mode(net, train) is net
    assert net.training == train


def test_reentrant_checkpoints_are_named() -> None:
    first = partial(torch.utils.checkpoint.checkpoint, torch.tanh, use_reentrant=True)
    with pytest.raises(InputError, match="pass use_reentrant=False"):
        ATTACKS[0].run(Before(first), torch.rand(2, 1, 6, 6), torch.tensor([0, 1]))


@pytest.mark.parametrize("output", [{"logits": 0}, (0,)])
def test_outputs_that_hold_the_logits_are_named(output: object) -> None:
    with pytest.raises(InputError, match="as by a module whose forward returns"):
        ATTACKS[0].run(lambda images: output, torch.rand(1, 1, 6, 6), torch.tensor([0]))  # type: ignore[arg-type, return-value]


def test_a_ball_beyond_the_box_is_refused() -> None:
    with pytest.raises(ValueError, match="more than the whole box"):
        ThreatModel("Linf", 8)
    assert ThreatModel("Linf", 8, (0, 255)).eps == 8
