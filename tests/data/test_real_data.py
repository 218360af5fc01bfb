"""The real CIFAR-10 and Fashion-MNIST, where environment variables give their paths."""

import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.data import load
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe.fields import Data

CIFAR10 = os.environ.get("ROBUST_TICKETS_CIFAR10")
FASHION_MNIST = os.environ.get("ROBUST_TICKETS_FASHION_MNIST")
needs_cifar10 = pytest.mark.skipif(not CIFAR10, reason="needs ROBUST_TICKETS_CIFAR10")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """A cache of this file's own, where images are decoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def loaded(decoded):
    """CIFAR-10 loaded twice through the cache, the second time without a decoder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUST_TICKETS_CIFAR10", CIFAR10)
        patch.setenv("XDG_CACHE_HOME", str(decoded))
        lines = []
        first = load.load(Data("cifar10", val_images=5000), lines.append)
        patch.setattr("robust_tickets.data.image_tree.decode", None)
        return first, load.load(Data("cifar10", val_images=5000)), lines


def assert_equals_spec(dataset, spec, shares, tolerance):
    """Each part has as many images of each class, and the pixels have the mean and std of the spec."""
    for part, share in zip((dataset.train, dataset.val, dataset.test), shares, strict=True):
        assert torch.bincount(part.labels).tolist() == [share] * 10
        assert part.images.shape[1:] == spec.shape
        assert part.images.dtype == torch.uint8
    pixels = torch.cat([dataset.train.images, dataset.val.images])
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        values = pixels[:, channel].double().div_(255)
        assert float(values.mean()) == pytest.approx(mean, abs=tolerance)
        assert float(values.std()) == pytest.approx(std, abs=tolerance)


@needs_cifar10
def test_cifar10_equals_its_spec_and_is_the_same_from_the_cache(loaded):
    first, second, lines = loaded
    assert (first.fingerprint, first.title) == (second.fingerprint, second.title)
    assert len(lines) <= 1
    parts = (first.train, first.val, first.test)
    assert sorted(torch.cat([part.ids for part in parts]).tolist()) == list(range(60_000))
    assert_equals_spec(first, SPECS["cifar10"], (4500, 500, 1000), 0.003)


@pytest.mark.skipif(not FASHION_MNIST, reason="needs ROBUST_TICKETS_FASHION_MNIST")
def test_fashion_mnist_equals_its_spec(monkeypatch):
    monkeypatch.setenv("ROBUST_TICKETS_FASHION_MNIST", str(FASHION_MNIST))
    fashion = load.load(Data("fashion-mnist", val_images=5000))
    assert fashion.title == "Fashion-MNIST"
    assert_equals_spec(fashion, SPECS["fashion-mnist"], (5500, 500, 1000), 0.00005)
    with pytest.raises(InputError, match=r"holds Fashion-MNIST.* use --data\.name fashion-mnist"):
        load.load(Data("mnist", root=Path(FASHION_MNIST)))


SHORT = (
    "--data.train-images 256 --data.val-images 50 --search.epochs 1 --search.batch 64 --train.epochs 2"
    " --train.ticket-epochs 1 --train.batch 64 --train.pgd.steps 1 --evaluate.images 50"
    " --evaluate.val-steps 1 --compare.arms dense ticket --compute.threads 1"
)


@needs_cifar10
def test_a_comparison_on_real_images(decoded, tmp_path, capsys, monkeypatch):
    """A shipped recipe, cut short."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(decoded))
    main(["compare", "--recipe", "cifar10-cpu", "--runs", str(tmp_path), *SHORT.split()])
    run = Path(capsys.readouterr().out.splitlines()[-1])
    assert "CIFAR-10" in (run / "timing.md").read_text()
    table = pd.read_csv(run / "timing.csv").set_index("arm")
    assert table.density["ticket"] == pytest.approx(0.2, abs=1e-4)
    root = os.environ["ROBUST_TICKETS_CIFAR10"].encode()
    assert not [file for file in run.rglob("*") if file.is_file() and root in file.read_bytes()]
    main(["evaluate", str(run / "seed-0/ticket/best.safetensors"), "--limit", "20", "--attacks", "fgsm"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("robustness.csv")
