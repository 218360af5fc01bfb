"""The real CIFAR-10 and Fashion-MNIST, where environment variables give their paths, equal their specs."""

import os
import tarfile
from pathlib import Path

import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.data import load
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe.fields import Data

CIFAR10 = os.environ.get("ROBUST_TICKETS_CIFAR10")
FASHION_MNIST = os.environ.get("ROBUST_TICKETS_FASHION_MNIST")
needs_cifar10 = pytest.mark.skipif(not CIFAR10, reason="needs ROBUST_TICKETS_CIFAR10")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """CIFAR-10 loaded twice through a cache of its own, the second time without a decoder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUST_TICKETS_CIFAR10", CIFAR10)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        lines = []
        first = load.load(Data("cifar10", val_images=5000), lines.append)
        patch.setattr("robust_tickets.data.image_tree.decode", None)
        return first, load.load(Data("cifar10", val_images=5000)), lines


@pytest.fixture(scope="module")
def cifar(loaded):
    return loaded[0]


@needs_cifar10
def test_cifar10_is_the_same_from_the_cache(loaded):
    first, second, lines = loaded
    assert first.fingerprint == second.fingerprint
    assert first.title == second.title
    assert len(lines) <= 1


@needs_cifar10
def test_cifar10_has_the_numbers_of_its_spec(cifar):
    spec = SPECS["cifar10"]
    assert (len(cifar.train), len(cifar.val), len(cifar.test)) == (45_000, 5000, 10_000)
    assert len(cifar.train) + len(cifar.val) == spec.train_images
    assert len(cifar.test) == spec.test_images
    assert sorted(torch.cat([p.ids for p in (cifar.train, cifar.val, cifar.test)]).tolist()) == list(
        range(60_000)
    )
    for part, share in ((cifar.train, 4500), (cifar.val, 500), (cifar.test, 1000)):
        assert torch.bincount(part.labels).tolist() == [share] * 10
        assert part.images.shape[1:] == spec.shape
        assert part.images.dtype == torch.uint8


@needs_cifar10
def test_cifar10_has_the_mean_and_std_of_its_spec(cifar):
    pixels = torch.cat([cifar.train.images, cifar.val.images])
    for channel, (mean, std) in enumerate(zip(SPECS["cifar10"].mean, SPECS["cifar10"].std, strict=True)):
        values = pixels[:, channel].float().div_(255)
        assert abs(float(values.mean()) - mean) < 0.003
        assert abs(float(values.std()) - std) < 0.003


@needs_cifar10
def test_a_jpeg_copy_has_its_title(cifar):
    if Path(CIFAR10).is_dir():
        jpeg = any(Path(CIFAR10).glob("train/*/*.jp*g"))
    else:
        with tarfile.open(CIFAR10, "r|*") as archive:
            jpeg = any(member.name.lower().endswith((".jpg", ".jpeg")) for member in archive)
    assert cifar.title == ("CIFAR-10 (JPEG copy)" if jpeg else "CIFAR-10")


@pytest.mark.skipif(not FASHION_MNIST, reason="needs ROBUST_TICKETS_FASHION_MNIST")
def test_fashion_mnist_equals_its_spec(monkeypatch):
    monkeypatch.setenv("ROBUST_TICKETS_FASHION_MNIST", str(FASHION_MNIST))
    fashion = load.load(Data("fashion-mnist", val_images=5000))
    spec = SPECS["fashion-mnist"]
    assert fashion.title == "Fashion-MNIST"
    for part, share in ((fashion.train, 5500), (fashion.val, 500), (fashion.test, 1000)):
        assert torch.bincount(part.labels).tolist() == [share] * 10
        assert part.images.shape[1:] == spec.shape
    pixels = torch.cat([fashion.train.images, fashion.val.images]).double() / 255
    assert round(float(pixels.mean()), 4) == spec.mean[0]
    assert round(float(pixels.std()), 4) == spec.std[0]
    with pytest.raises(InputError, match=r"holds Fashion-MNIST.* use --data\.name fashion-mnist"):
        load.load(Data("mnist", root=Path(FASHION_MNIST)))
