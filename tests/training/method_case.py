"""A small network and a batch in float64, for tests of training methods."""

from dataclasses import replace

import torch
from torch import nn

from robust_tickets.attacks import ThreatModel
from robust_tickets.data.augmentation import Augmentation
from robust_tickets.data.dataset import Dataset, Spec, Split
from robust_tickets.models.fold import fold
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.training_fields import Training
from robust_tickets.training.methods.base import Batch, Networks, Step

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


def linear_net(classes=2, scale=1.0):
    """One layer, its weights times a factor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = nn.Sequential(nn.Flatten(), nn.Linear(72, classes)).double()
    with torch.no_grad():
        net[1].weight.mul_(scale)
    return net


def inner_batch(n=6):
    """Images in the middle of the box, whose bounds no perturbation reaches."""
    batch = batch_of(n)
    return replace(batch, images=0.4 + 0.2 * batch.images)


def two_class_batch(n=6):
    batch = inner_batch(n)
    return replace(batch, labels=batch.labels % 2)


def experienced_net():
    """The small network without dropout, whose BatchNorm has seen images."""
    net = SmallNet()
    net.dropout.p = 0.0
    with torch.no_grad():
        net(torch.rand(50, *SHAPE, dtype=torch.float64))
    return net


def twin_of(net):
    """A copy of it, whose statistics move apart from the network's own."""
    twin = SmallNet()
    twin.dropout.p = 0.0
    twin.load_state_dict(net.state_dict())
    return twin


def own_cross_entropy(batch):
    return lambda logits: nn.functional.cross_entropy(logits, batch.labels, reduction="sum")


def nets_of(net):
    return Networks(net.train(), fold(net))
