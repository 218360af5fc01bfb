"""The recipe's dataclasses, one a concern: they are the command line (`--search.lr 0.01`) and the TOML file.

The text under a field is its help.
"""

from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from robust_tickets.recipe.arms import arm_names, arms_help, controls, trained_arms
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.methods import METHODS, method_class
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, pruning_method_class
from robust_tickets.recipe.registry import first_lines
from robust_tickets.recipe.schema import (
    Count,
    CountOrZero,
    NotNegative,
    OneOf,
    Positive,
    Range,
    Share,
    ShareOrZero,
)

DataName = Literal["digits", "cifar10", "cifar100", "svhn", "mnist", "fashion-mnist", "folder", "own"]
Optimiser = Literal["sgd", "adam"]
Schedule = Literal["step", "constant", "cosine", "cyclic"]
Scores = Literal["magnitude", "magnitude-over-layer-mean"]
Granularity = Literal["weight", "channel"]
ArmName = Annotated[str, OneOf(arm_names)]

NETS = (
    "lenet-300-100",
    "conv-2",
    "conv-4",
    "conv-6",
    "vgg11",
    "vgg16",
    "vgg16-fc",
    "vgg19",
    "resnet20",
    "resnet32",
    "resnet56",
    "resnet18",
    "preact-resnet18",
)
"""The nets by name; WideResNets are named by depth and factor, as wrn34-10."""

WITH_DROPOUT = ("conv-2", "conv-4", "conv-6")
"""The nets that have dropout."""


@dataclass(frozen=True)
class Data:
    """The images, and how many of them are used."""

    name: DataName = "digits"
    """data set: digits (scikit-learn's, embedded), one that torchvision knows, folder (any images), or own
    (tensors handed over in Python)"""
    root: Path | None = None
    """where the images are: torchvision's folder; for mnist and fashion-mnist also the four idx files; for
    cifar10 and folder a tree train/<class>/* and test/<class>/* or an archive of one, for folder <class>/*
    alone too; without it an environment variable such as ROBUST_TICKETS_CIFAR10 is asked; never recorded"""
    download: bool = False
    """let torchvision download the set into the root; never recorded"""
    resize: CountOrZero = 0
    """folder: scale and crop every image to a square of this side; 0: leave them as they are"""
    flip: bool = False
    """folder and own: mirror training images at random; other sets have an augmentation of their own"""
    train_images: CountOrZero = 0
    """training images, balanced over the classes; 0: all that validation leaves"""
    val_images: Count = 180
    """images held out of the training set for validation: the same ones for every seed"""


@dataclass(frozen=True)
class Model:
    """The net."""

    name: Annotated[str, arg(metavar="NET|MODULE:FUNCTION")] = "resnet20"
    """architecture: lenet-300-100, conv-2, conv-4, conv-6, vgg11, vgg16, vgg16-fc, vgg19, resnet20, resnet32,
    resnet56, resnet18, preact-resnet18, wrnD-K (as wrn34-10), or module:function, a function of yours that
    returns an nn.Module"""
    width: Annotated[float, Range(above=0, most=64)] = 1.0
    """factor on all hidden widths (channels are rounded to multiples of 8)"""
    dropout: ShareOrZero = 0.0
    """share of the hidden units dropped behind each hidden linear layer of conv-2, conv-4 and conv-6"""
    init: Literal["default", "glorot-normal", "kaiming-normal"] = "default"
    """initial weights: default (PyTorch's, TRADES's for WideResNets, your function's own), or normal ones
    after Glorot or Kaiming"""


EPS_CIFAR = Eps("8/255")
"""The radius that most of the literature uses on CIFAR-10."""


@dataclass(frozen=True)
class Threat:
    """What the adversary may do to an image."""

    eps: Eps = EPS_CIFAR
    """radius of the ball, for pixels in [0, 1]; kept as written; step sizes are shares of it"""
    norm: Literal["Linf", "L2"] = "Linf"
    """Linf: any pixel by at most eps; L2: all pixels together by at most eps"""


if TYPE_CHECKING:
    MethodName = str

    @dataclass(frozen=True)
    class MethodFields:
        """Which training method, and the settings of each: `method`, `pgd`, `trades`, ..."""

        method: str = "pgd"

    @dataclass(frozen=True)
    class PruningMethodFields:
        """Which pruning method, and the settings of each: `pruning_method`, `random`, ..."""

        pruning_method: str = "imp"

else:

    def _fields_of(field, default, classes):
        """Dataclass fields: that which names a method, and the settings of the methods that have any."""
        names = Annotated[Literal[tuple(classes)], arg(help=first_lines(classes))]
        settings = [(n, cls.Settings, cls.Settings()) for n, cls in classes.items() if fields(cls.Settings)]
        return [(field, names, default), *settings]

    MethodName = Literal[tuple(METHODS)]
    _methods = _fields_of("method", "pgd", {n: method_class(n) for n in METHODS})
    MethodFields = make_dataclass("MethodFields", _methods, frozen=True)
    _methods = _fields_of("pruning_method", "imp", {n: pruning_method_class(n) for n in PRUNING_METHODS})
    PruningMethodFields = make_dataclass("PruningMethodFields", _methods, frozen=True)


@dataclass(frozen=True)
class Training(MethodFields):
    """One training: method, optimiser and schedule."""

    epochs: Count = 30
    """passes over the training images"""
    iterations: CountOrZero = 0
    """optimiser steps, exactly, instead of epochs; 0: go by epochs"""
    batch: Count = 128
    """images in a step; the last, smaller batch of an epoch is left out"""
    augment: bool = True
    """padded random crops and horizontal flips, as usual for the data set"""
    optimiser: Optimiser = "sgd"
    """sgd or adam"""
    lr: Positive = 0.1
    """highest learning rate of the schedule"""
    momentum: ShareOrZero = 0.9
    """SGD's momentum; Adam's beta1"""
    weight_decay: NotNegative = 5e-4
    """L2 weight decay, on all parameters"""
    schedule: Schedule = "step"
    """step: times 0.1 at each of the milestones; constant; cosine: to 0 along half a cosine; cyclic: linearly
    up to lr at the end of the warm-up (half-way without one), then down to 0"""
    milestones: tuple[Share, ...] = (0.5, 0.75)
    """step: shares of the steps after which the rate is multiplied by 0.1"""
    warmup: ShareOrZero = 0.0
    """share of the steps over which the rate rises linearly from warmup_lr to lr; 0: none"""
    warmup_lr: NotNegative = 0.0
    """learning rate at the first step of the warm-up"""
    overfitting: Literal["warn", "restore-best"] = "warn"
    """for methods whose attack takes a single step, when the network becomes robust to FGSM but no longer to
    PGD (catastrophic overfitting): warn and go on, or restore the best epoch and end there"""


@dataclass(frozen=True)
class Search(PruningMethodFields, Training):
    """How the ticket is found: train, prune and rewind, in one or more rounds."""

    granularity: Granularity = "weight"
    """what is pruned: single weights, or whole channels: filters with their biases and BatchNorms and the
    inputs of the next layers, the channels of one residual stream together, in multiples of round_to. A
    structured ticket is a narrower network, and rounds train it as one"""
    round_to: Literal[8, 16, 32, 64] = 8
    """granularity channel: layers keep a multiple of this number of channels; 16 fill a vector of AVX-512"""
    epochs: Count = 30
    """epochs of each round"""
    images: CountOrZero = 0
    """training images that the search uses, balanced over the classes; 0: all training images"""
    stop_distance: ShareOrZero = 0.0
    """end the training of a round once the mask that it would give is closer than this to the masks of the
    last four epochs (Jaccard distance, logged in any case); 0: never"""
    after: Literal["rewind", "fine-tune"] = "rewind"
    """weights that the next round and the ticket begin from: rewind: the init (or an early step); fine-tune:
    the trained weights"""
    rounds: Count = 1
    """how often to train, prune and rewind; 1: one-shot pruning. More rounds than an earlier search continue
    after its last one"""
    ratio: Share = 0.8
    """share of the remaining weights (granularity channel: channels) that a round removes (scope layer: from
    each convolution)"""
    scope: Literal["global", "layer"] = "global"
    """what the ratio is a share of: all layers together, or each layer by itself"""
    fc_ratio: ShareOrZero | None = None
    """scope layer: the share for hidden linear layers; None: as ratio"""
    output_ratio: ShareOrZero | None = None
    """scope layer: the share for the output layer; None: as fc_ratio"""
    prune_first_conv: bool = True
    """prune the first convolution too"""
    prune_output: bool = True
    """prune the output layer too"""
    ignored_layers: str = ""
    """parameters that are never pruned: patterns of their names with spaces between, such as "*shortcut*
    head.*". Granularity channel: layers that keep all output channels"""
    criterion: Scores = "magnitude-over-layer-mean"
    """score of a weight: its magnitude, or that divided by the mean magnitude of its layer"""
    rewind_iterations: CountOrZero = 0
    """rewind to the weights after so many steps of the first round; 0: to the init"""
    rewind_epochs: CountOrZero = 0
    """the same in epochs; 0: see rewind_iterations"""

    @property
    def training(self) -> Training:
        """The settings of its training alone."""
        return Training(**{field.name: getattr(self, field.name) for field in fields(Training)})


@dataclass(frozen=True)
class Train(Training):
    """The training that is compared: dense or from the ticket, on one schedule chosen for dense."""

    epochs: Count = 30
    """epochs of the full schedule, for dense nets"""
    ticket_epochs: Count = 15
    """epochs of the short schedule, for the ticket and for dense-short; the same shape"""
    ticket_iterations: CountOrZero = 0
    """optimiser steps of the short schedule, where iterations is given; 0: go by epochs"""


@dataclass(frozen=True)
class Evaluate:
    """How nets are judged. Attacks: clean, FGSM, and PGD-20 with a random start."""

    images: CountOrZero = 0
    """test images, balanced over the classes; 0: all"""
    batch: Count = 250
    """images at once"""
    rel_step: Positive = 0.25
    """PGD's step size as a share of eps"""
    val_steps: Count = 10
    """steps of the PGD on the validation images, after every epoch"""
    select_by: Literal["robust", "clean"] = "robust"
    """accuracy on the validation images that chooses the best epoch"""
    early_epochs: CountOrZero = 1
    """first epochs of an arm in which it is validated within the epoch too, from the untrained net on; never
    charged"""
    early_points: Count = 4
    """validations in each of them, the one at its end included"""


@dataclass(frozen=True)
class Compare:
    """The arms that are compared."""

    arms: Annotated[tuple[ArmName, ...], arg(metavar="ARM...", help=arms_help())] = (
        "dense",
        "dense-short",
        "dense-equal-cost",
        "ticket",
    )

    @property
    def trained(self) -> tuple[str, ...]:
        """The arms that are trained; the others are read from their files."""
        return trained_arms(self.arms)


@dataclass(frozen=True)
class Study:
    """What `study` varies, from the setting that the other fields are; no part of a run's identity."""

    lr: tuple[Positive, ...] = (0.005, 0.01, 0.05, 0.1)
    """study lr: learning rates of the search"""
    ratio: tuple[Share, ...] = (0.32, 0.56, 0.73, 0.8, 0.87, 0.92, 0.98)
    """study ratio: shares of the weights (or channels) that are gone in the end, whatever the rounds"""
    width: tuple[Positive, ...] = (0.1, 0.2, 0.5, 1.0)
    """study width: factors on the net's hidden widths"""
    mask_source: tuple[MethodName, ...] = ("natural", "fgsm", "pgd")
    """study mask-source: methods of the search"""
    search_length: tuple[Count, ...] = (1, 20, 40, 60, 100)
    """study search-length: epochs of the search's rounds"""
    rounds: tuple[Count, ...] = (1, 2, 4)
    """study rounds: rounds of the search, at the density that the recipe's own rounds end with"""
    controls: Annotated[tuple[ArmName, ...], arg(metavar="ARM...")] = controls()
    """study controls: the arms"""
    schedule: tuple[Count, ...] = (20, 40, 60, 80, 100)
    """study schedule: epochs of the short schedule, of the ticket and of dense-short"""
    transfer: tuple[str, ...] = ("threat.eps=4/255", "search.method=natural")
    """study transfer: changes of the recipe that another ticket is found with, to be trained by the recipe as
    it is: of data (of the same shape and classes), threat or search"""


@dataclass(frozen=True)
class Compute:
    """How the arithmetic is done; what changes the bits is part of the recipe."""

    threads: Annotated[int, Range(least=1, most=1024)] = 2
    """CPU threads"""
    channels_last: bool = True
    """memory format of images and weights: channels last, or PyTorch's default"""
    precision: Literal["float32", "bf16-attack", "bf16"] = "float32"
    """what passes of a training are computed in: float32; bfloat16 (autocast) for the training attack's, or
    for the update's too. Weights stay float32, and so do validation and evaluation"""
    compile: bool = False
    """compile training's passes with torch.compile; needs a compiler, and its time is charged"""
    compact: bool = True
    """train a ticket without the channels that it prunes whole, which is the same net at less cost; false:
    with all its zeros"""
