"""A small network and a batch in float64, for tests of training methods."""

from dataclasses import replace

import torch
from torch import nn

from robust_tickets.attacks import ThreatModel
from robust_tickets.data.augmentation import Augmentation
from robust_tickets.data.dataset import Dataset, Spec, Split
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.methods.base import Batch, Step

EPS = 0.1
SHAPE = (2, 6, 6)


class SmallNet(nn.Module):
    """A small network with BatchNorm and dropout, in float64."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = nn.Conv2d(2, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.head = nn.Linear(4 * 16, 5)
        self.dropout = nn.Dropout(0.3)
        self.double()

    def forward(self, x):
        x = torch.tanh(self.norm(self.conv(x)))
        return self.head(self.dropout(x.flatten(1)))


class Counter(nn.Module):
    """A network that counts the samples of its forward and backward passes."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.samples = [0, 0]

    def forward(self, x):
        logits = self.net(x)
        self.count(x, 0)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self.count(gradient, 1))
        return logits

    def count(self, images, backward):
        self.samples[backward] += len(images)


def batch_of(n=6, norm="Linf", ids=None, seed=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        images, labels = torch.rand(n, 2, 6, 6, dtype=torch.float64), torch.randint(5, (n,))
    rows = torch.arange(n)
    augmentation = Augmentation(rows % 3, (rows + 1) % 3, rows % 2 == 0, padding=1)
    step = Step(20, 40, classes=5)
    ids = rows if ids is None else ids
    return Batch(images, labels, ids, ThreatModel(norm, EPS), seed, step, rows, augmentation)


def data_of(batch):
    """A data set whose training images are as many as those of the batch."""
    n = len(batch.rows)
    spec = Spec("toy", SHAPE, 5, n, 1, (0.5, 0.5), (1.0, 1.0), crop_padding=1, flip=True)
    split = Split(
        torch.zeros(n, *SHAPE, dtype=torch.uint8), torch.zeros(n, dtype=torch.int64), torch.arange(n)
    )
    return Dataset(spec, "toy", split, split, split, "")


def rows_of(batch, rows):
    """Some samples of a batch, in this order."""
    augmentation = batch.augmentation
    crops = (augmentation.down, augmentation.right, augmentation.flip)
    return replace(
        batch,
        **{name: getattr(batch, name)[rows] for name in ("images", "labels", "ids", "rows")},
        augmentation=Augmentation(*(values[rows] for values in crops), augmentation.padding),
    )


def method_of(name, **settings):
    training = Training(method=name)
    return make_method(
        replace(training, **{name: replace(getattr(training, name), **settings)} if settings else {})
    )


def wrapped(name, **wrappers):
    """A method in wrappers, by their settings."""
    return make_method(Training(method=name, **wrappers))


def gradient_of(net, images, loss):
    point = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(net.eval()(point)), point)
    return gradient
