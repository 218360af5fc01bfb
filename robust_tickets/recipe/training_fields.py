"""The fields of `[search]` and `[train]` in recipes. The text under a field is its help."""

from dataclasses import dataclass, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from robust_tickets.recipe.budget import Budget
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.methods import METHODS, WRAPPERS, method_class, wrapper_class
from robust_tickets.recipe.pruning_methods import PRUNING_METHODS, pruning_method_class
from robust_tickets.recipe.registry import first_lines
from robust_tickets.recipe.schema import Count, CountOrZero, NotNegative, Positive, Share, ShareOrZero

Optimiser = Literal["sgd", "adam", "muon"]
Schedule = Literal["step", "constant", "cosine", "cyclic", "one-cycle"]
Criterion = Literal["magnitude", "magnitude-over-layer-mean"]
Granularity = Literal["weight", "channel"]
BasisKind = Literal["canonical", "dct", "random", "svd", "svd-block"]


if TYPE_CHECKING:
    MethodName = str

    @dataclass(frozen=True)
    class MethodFields:
        """Which training method, and the settings of each and of each wrapper: `method`, `pgd`, `awp`, ..."""

        method: str = "pgd"

    @dataclass(frozen=True)
    class TrainOnlyFields:
        """The settings of wrappers that no search has: `dst`."""

    @dataclass(frozen=True)
    class PruningMethodFields:
        """Which pruning method, and the settings of each: `pruning_method`, `random`, ..."""

        pruning_method: str = "imp"

else:

    def _settings_of(classes):
        """Dataclass fields: the settings of the classes that have any."""
        return [(n, cls.Settings, cls.Settings()) for n, cls in classes.items() if fields(cls.Settings)]

    def _fields_of(field, default, classes):
        """Dataclass fields: that which names a method, and the settings of the methods."""
        names = Annotated[Literal[tuple(classes)], arg(help=first_lines(classes))]
        return [(field, names, default), *_settings_of(classes)]

    MethodName = Literal[tuple(METHODS)]
    _methods = _fields_of("method", "pgd", {n: method_class(n) for n in METHODS})
    _wrappers = {n: wrapper_class(n) for n in WRAPPERS}
    _of_both = _settings_of({n: cls for n, cls in _wrappers.items() if cls.in_search})
    MethodFields = make_dataclass("MethodFields", [*_methods, *_of_both], frozen=True)
    _of_train = _settings_of({n: cls for n, cls in _wrappers.items() if not cls.in_search})
    TrainOnlyFields = make_dataclass("TrainOnlyFields", _of_train, frozen=True)
    _methods = _fields_of("pruning_method", "imp", {n: pruning_method_class(n) for n in PRUNING_METHODS})
    PruningMethodFields = make_dataclass("PruningMethodFields", _methods, frozen=True)


@dataclass(frozen=True)
class Training(MethodFields):
    """One training: method, optimiser and schedule."""

    epochs: Count = 30
    """passes over the training images"""
    iterations: CountOrZero = 0
    """optimiser steps, exactly, instead of epochs; 0: go by epochs"""
    images: CountOrZero = 0
    """training images that are used, balanced over the classes; 0: all training images"""
    eps: Eps | None = None
    """radius of the training attack, where it is another one than that of validation and evaluation; None:
    threat.eps"""
    batch: Count = 128
    """images in a step; the last, smaller batch of an epoch is left out"""
    augment: bool = True
    """padded random crops and horizontal flips, as usual for the data set"""
    optimiser: Optimiser = "sgd"
    """sgd, adam or muon: SGD with momentum, whose steps of the weights of hidden layers are orthogonalised"""
    lr: Positive = 0.1
    """highest learning rate of the schedule"""
    muon_lr: Positive = 0.02
    """muon: highest learning rate of the weights of hidden layers, on the same schedule; lr is that of all
    other parameters"""
    momentum: ShareOrZero = 0.9
    """SGD's and Muon's momentum; Adam's beta1"""
    weight_decay: NotNegative = 5e-4
    """L2 weight decay, on all parameters; decoupled from the gradient where Muon takes the step"""
    schedule: Schedule = "step"
    """step: times 0.1 at each of the milestones; constant; cosine: to 0 along half a cosine; cyclic: linearly
    up to lr at the end of the warm-up (half-way without one), then down to 0; one-cycle: up along half a
    cosine for the warm-up (30 % of the steps without one), then down to 0 along another"""
    milestones: tuple[Share, ...] = (0.5, 0.75)
    """step: shares of the steps after which the rate is multiplied by 0.1"""
    warmup: ShareOrZero = 0.0
    """share of the steps over which the rate rises linearly from warmup_lr to lr; 0: none"""
    warmup_lr: NotNegative = 0.0
    """learning rate at the first step of the warm-up"""
    label_smoothing: ShareOrZero = 0.0
    """share of each label that is spread over the classes, in the update alone: attacks keep hard labels"""
    smoothing: Literal["uniform", "random"] = "uniform"
    """label_smoothing: evenly over all classes, or over the other classes in a random ratio that changes from
    epoch to epoch"""
    overfitting: Literal["warn", "restore-best", "pgd"] = "warn"
    """for methods whose attack takes a single step, when the network becomes robust to that step but not to
    PGD (catastrophic overfitting): warn and go on; restore the best epoch and end there; or train by PGD
    until the network has recovered"""
    overfitting_steps: Count = 5
    """overfitting pgd: gradient steps of that PGD, 2 or more"""


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
    stop_distance: ShareOrZero = 0.0
    """end the training of a round once the mask that it would give is closer than this to the masks of the
    last four epochs (Jaccard distance, logged in any case); 0: never"""
    after: Literal["rewind", "lr-rewind"] = "rewind"
    """weights that the next round and the ticket begin from: rewind: the init (or an early step); lr-rewind:
    the trained weights, with the learning rate alone rewound"""
    rounds: Count = 1
    """how often to train, prune and rewind; 1: one-shot pruning. More rounds than an earlier search continue
    after its last one"""
    ratio: Share = 0.8
    """share of the remaining weights that a round removes (granularity channel: of the channels; basis svd:
    of the singular values, so that far fewer numbers are left; scope layer: from each convolution)"""
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
    criterion: Criterion = "magnitude-over-layer-mean"
    """score of a weight: its magnitude, or that divided by the mean magnitude of its layer"""
    basis: BasisKind = "canonical"
    """what is pruned of a layer: canonical: its weights; else coefficients in an orthonormal basis, which the
    ticket trains in place of the weights: dct: the discrete cosine transform; random: the control of that;
    svd: the singular vectors of the trained weights, of which the singular values alone are trained, or with
    svd-block all numbers between the kept vectors. No FLOPs are saved"""
    basis_axes: Literal["spatial", "all"] = "spatial"
    """basis dct and random: the axes of a weight that are transformed: those of kernels, or all"""
    rewind_iterations: CountOrZero = 0
    """rewind to the weights after so many steps of the first round; 0: to the init"""
    rewind_epochs: CountOrZero = 0
    """the same in epochs; 0: see rewind_iterations"""

    @property
    def training(self) -> Training:
        """The settings of its training alone."""
        return Training(**{field.name: getattr(self, field.name) for field in fields(Training)})


@dataclass(frozen=True)
class Train(TrainOnlyFields, Training):
    """The training that is compared: dense or from the ticket, on one schedule chosen for dense."""

    epochs: Count = 30
    """epochs of the full schedule, for dense networks"""
    ticket_epochs: Count = 15
    """epochs of the short schedule, for the ticket and for dense-short; the same shape"""
    ticket_iterations: CountOrZero = 0
    """optimiser steps of the short schedule, where iterations is given; 0: go by epochs"""
    budget: Budget | None = None
    """what the training may cost, as 30min, 90s, 2h, 2e6passes or 1.5e15flops: as many steps as that pays
    for, instead of epochs; every schedule keeps its shape. Steps are timed beforehand on this machine; FLOPs
    are those of the network that is trained. None: no budget"""
    ticket_budget: Budget | None = None
    """the same for the short schedule; None: as budget"""
    average: ShareOrZero = 0.0
    """decay of a moving average of the weights, which is validated and evaluated too: 0.9995 for a hundred
    epochs of 390 steps, about 1 - 15/steps for short trainings; 0: none"""
    average_batches: Count = 20
    """average: adversarial batches, the last ones of each epoch, that its BatchNorm statistics are estimated
    on; their forward passes are charged"""

    @property
    def lengths_are_equal(self) -> bool:
        """Whether the short schedule is as long as the full one."""
        if self.budget is not None:
            return self.ticket_budget in (None, self.budget)
        return (self.epochs, self.iterations) == (self.ticket_epochs, self.ticket_iterations)


_FIELDS = {name for cls in (Training, Search, Train) for name in cls.__annotations__}
_NAMES = [*_FIELDS, *METHODS, *WRAPPERS, *PRUNING_METHODS]
_TAKEN = {name for name in _NAMES if _NAMES.count(name) > 1}
if _TAKEN:
    raise TypeError(f"{sorted(_TAKEN)[0]} is a method and another field of trainings: rename the method")
