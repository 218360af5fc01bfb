"""Images, labels, starts and ids that every attack refuses."""

import pytest
import torch
from torch import Tensor, nn

from attacks import PGD, InputError, ThreatModel

THREAT = ThreatModel("Linf", 0.1)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(5, 3, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3, 0])


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 4))


REFUSED = {
    "above the box": (
        lambda i, y: {"images": i + 0.5},
        r"images lie in \[0\.\d+, 1\.\d+\], expected \[0, 1\]",
    ),
    "below the box": (lambda i, y: {"images": i - 0.5}, r"expected \[0, 1\].*normalisation.*first layer"),
    "nan image": (
        lambda i, y: {"images": i.where(i > 0.1, float("nan"))},
        r"5 of 5 images hold NaN: look at the code that reads",
    ),
    "an array": (lambda i, y: {"images": i.numpy()}, r"images are a ndarray, expected a torch\.Tensor"),
    "a list": (lambda i, y: {"images": [i]}, r"images are a list, expected a torch\.Tensor"),
    "labels as an array": (lambda i, y: {"labels": y.numpy()}, r"labels are a ndarray, expected a torch"),
    "bytes": (lambda i, y: {"images": (i * 255).to(torch.uint8)}, r"uint8.*floats within \[0, 1\]"),
    "no images": (lambda i, y: {"images": i[:0], "labels": y[:0]}, r"expected a batch.*\(0, 3, 6, 6\)"),
    "no batch": (lambda i, y: {"images": i[0, 0, 0], "labels": y}, r"expected a batch.*\(6,\)"),
    "int32 labels": (lambda i, y: {"labels": y.int()}, r"5 labels of type int64, got torch\.int32"),
    "float labels": (lambda i, y: {"labels": y.float()}, r"5 labels of type int64, got torch\.float32"),
    "one-hot labels": (lambda i, y: {"labels": torch.eye(4)[y].long()}, r"5 labels.*of shape \(5, 4\)"),
    "too few labels": (lambda i, y: {"labels": y[:4]}, r"5 labels of type int64.*of shape \(4,\)"),
    "label too high": (lambda i, y: {"labels": y + 1}, r"labels lie in 1 to 4, .*4 classes \(0 to 3\)"),
    "negative label": (lambda i, y: {"labels": y - 1}, r"labels lie in -1 to 2, .*4 classes"),
    "start outside ball": (lambda i, y: {"start": (i + 0.2).clamp(0, 1)}, r"start.*ball or box: project it"),
    "start outside box": (lambda i, y: {"start": i - 0.05}, r"start.*ball or box: project it"),
    "nan start": (lambda i, y: {"start": i * float("nan")}, r"start.*ball or box"),
    "shape of start": (lambda i, y: {"start": i[:1]}, r"start is .* of shape \(1, 3, 6, 6\).*\(5, 3, 6, 6\)"),
    "type of start": (lambda i, y: {"start": i.double()}, r"start.*float64.*float32"),
    "too few ids": (lambda i, y: {"sample_ids": torch.arange(4)}, r"5 sample ids of type int64.*\(4,\)"),
    "type of ids": (lambda i, y: {"sample_ids": torch.arange(5).int()}, r"5 sample ids of type int64.*int32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_input_that_makes_no_sense_is_refused_in_words(case, net, batch):
    change, message = REFUSED[case]
    arguments = {"images": batch[0], "labels": batch[1]} | change(*batch)
    with pytest.raises(InputError, match=message):
        PGD(THREAT, steps=1).run(net, **arguments)


@pytest.mark.parametrize("eps", ["8/255", None])
def test_an_eps_that_is_no_number_is_refused_in_words(eps):
    with pytest.raises(ValueError, match="eps must be a number such as 8 / 255, got"):
        ThreatModel("Linf", eps)


def test_a_short_call_checks_its_input_too(net, batch):
    with pytest.raises(InputError, match="images lie in"):
        PGD(THREAT)(net, batch[0] * 255, batch[1])


@pytest.mark.parametrize("spoil", [lambda z: z[0], lambda z: z[:1], lambda z: z[:, :, None]])
def test_a_net_without_logits_is_refused(spoil, net, batch):
    with pytest.raises(InputError, match=r"gave shape .* for 5 images, expected logits \(N, classes\)"):
        PGD(THREAT).run(lambda x: spoil(net(x)), *batch)


def test_the_bounds_of_the_threat_are_those_of_the_images(net, batch):
    wide = PGD(ThreatModel("Linf", 8.0, (0.0, 255.0)), steps=2)
    images = batch[0] * 255
    result = wide.run(net, images, batch[1])
    assert wide.threat.allows(result.images, images).all()
    with pytest.raises(InputError, match=r"expected \[0, 255\]"):
        wide.run(net, images - 300, batch[1])
