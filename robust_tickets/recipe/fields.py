"""The fields of a recipe, for TOML files (`[search]`, `lr = 0.01`) and the command line (`--search.lr 0.01`).

The text under a field is its help.
"""

from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from tyro.conf import arg

from robust_tickets.recipe.arms import arm_names, arms_help, is_arm, trained_arms
from robust_tickets.recipe.contrasts import WantedContrast, parsed
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.schema import (
    Count,
    CountOrZero,
    OneOf,
    Positive,
    Range,
    ShareOrZero,
)
from robust_tickets.recipe.studies import STUDIES, load_study

DataName = Literal["digits", "cifar10", "cifar100", "svhn", "mnist", "fashion-mnist", "folder", "own"]
ArmName = Annotated[str, OneOf(arm_names, is_arm)]
CheckpointName = Literal["last", "best", "average"]

CHECKPOINTS: tuple[CheckpointName, ...] = get_args(CheckpointName)
"""The checkpoints of an arm, in the order in which tables have them."""


@dataclass(frozen=True)
class Data:
    """The images."""

    name: DataName = "digits"
    """data set: digits (comes with scikit-learn), a set of torchvision, folder (your own image files), or own
    (tensors passed in Python)"""
    root: Path | None = None
    """path of the images: torchvision's folder; for mnist and fashion-mnist also a folder of the four idx
    files; for cifar10 and folder a tree train/<class>/* and test/<class>/* or an archive of one, for folder
    also <class>/* alone; None: the environment variable ROBUST_TICKETS_<NAME>, such as
    ROBUST_TICKETS_CIFAR10; never recorded"""
    download: bool = False
    """let torchvision download the set to the root; never recorded"""
    resize: CountOrZero = 0
    """folder: side in pixels of the square that images are scaled and cropped to; 0: leave them unchanged"""
    flip: bool = False
    """folder and own: flip training images horizontally at random; other sets have a fixed augmentation"""
    train_images: CountOrZero = 0
    """number of training images, balanced over the classes; 0: all that are not held out"""
    val_images: Count = 180
    """number of images held out of the training set for validation, the same ones for every seed"""


@dataclass(frozen=True)
class Model:
    """The network."""

    name: Annotated[str, arg(metavar="NET|MODULE:FUNCTION")] = "resnet20"
    """network: lenet-300-100, conv-2, conv-4, conv-6, vgg11, vgg13, vgg16, vgg16-fc, vgg16-3fc, vgg19,
    resnet14, resnet20, resnet32, resnet44, resnet56, resnet18, preact-resnet18, wrnD-K (as wrn34-10), mlp-N
    (as mlp-3), or module:function, a function of your own that returns an nn.Module"""
    width: Annotated[float, Range(above=0, most=64)] = 1.0
    """factor on all hidden widths; channels are rounded to multiples of 8"""
    dropout: ShareOrZero = 0.0
    """conv-2, conv-4 and conv-6: share of the units of each hidden linear layer dropped in training"""
    init: Literal["default", "glorot-normal", "kaiming-normal", "signed-constant"] = "default"
    """initial weights: default (PyTorch's; those of TRADES for WideResNets; those of your own function);
    normally distributed as by Glorot or by Kaiming; or all of one size in a layer, as pruning method
    edge_popup likes them"""


EPS_CIFAR = Eps("8/255")
"""The usual radius on CIFAR-10."""


@dataclass(frozen=True)
class Threat:
    """What an attack may change in an image."""

    eps: Eps = EPS_CIFAR
    """radius of the ball, for pixels in [0, 1], recorded as written; step sizes are shares of it"""
    norm: Literal["Linf", "L2"] = "Linf"
    """Linf: each pixel by at most eps; L2: all pixels together by at most eps in Euclidean norm"""


@dataclass(frozen=True)
class Evaluate:
    """How networks are evaluated: clean, and attacked by FGSM and by PGD-20 with a random start."""

    images: CountOrZero = 0
    """number of test images, balanced over the classes; 0: all"""
    aa_images: CountOrZero = 0
    """number of test images, balanced over the classes, on which checkpoints are judged by AutoAttack: by
    APGD-CE and APGD-T, and by FAB-T and Square as aa_whole says; 0: no AutoAttack"""
    aa_checkpoints: Annotated[tuple[CheckpointName, ...], arg(metavar="CHECKPOINT...")] = CHECKPOINTS
    """which checkpoints of an arm AutoAttack judges: last, and best and average (of the weights) beside it;
    the others are attacked by PGD-20 alone"""
    aa_whole: Literal["front", "off"] = "front"
    """front: where all arms are done, FAB-T and Square attack those on the frontier of cost and accuracy too,
    which takes several times as long as the two APGD attacks; off: no arm"""
    sanity: Literal["all", "last", "best", "off"] = "all"
    """which checkpoints of an arm the sanity checks look at; for small networks, attacks may take less time
    than the checks"""
    batch: Count = 250
    """images a batch"""
    rel_step: Positive = 0.25
    """PGD's step size as a share of eps"""
    val_steps: Count = 10
    """steps of the PGD on the validation images, after each epoch"""
    select_by: Literal["robust", "clean"] = "robust"
    """accuracy on the validation images that the best epoch is selected by"""
    early_epochs: CountOrZero = 1
    """number of first epochs in which an arm is validated within the epoch too, from the untrained network
    on; never charged"""
    early_points: Count = 4
    """validations in each of these epochs, with the one at its end"""

    @property
    def has_whole_autoattack(self) -> bool:
        """Whether FAB-T and Square attack the arms on the frontier."""
        return self.aa_images > 0 and self.aa_whole == "front"

    def checks_sanity_of(self, checkpoint: str) -> bool:
        """Whether the sanity checks look at a checkpoint of that name."""
        return self.sanity in ("all", checkpoint)


JUDGING = ("aa_images", "aa_checkpoints", "aa_whole", "sanity")
"""Fields of `Evaluate` that no training depends on: what they ask for is done where it is not done yet."""


@dataclass(frozen=True)
class Compare:
    """The arms that are compared."""

    arms: Annotated[tuple[ArmName, ...], arg(metavar="ARM...", help=arms_help())] = (
        "dense",
        "dense-short",
        "dense-equal-cost",
        "ticket",
    )
    contrasts: Annotated[tuple[str, ...], arg(metavar="CONTRAST...")] = ()
    """differences that the runs are to decide, named beforehand, as "ticket minus dense-short" or "ticket not
    worse than dense" (by one point); their p-values are corrected together for how many there are (Holm)"""
    reuses: Count = 1
    """how many trainings use the search, for the arm dense-amortised"""

    @property
    def trained(self) -> tuple[str, ...]:
        """The arms that are trained; the others are read from their files."""
        return trained_arms(self.arms)

    @property
    def wanted_contrasts(self) -> list[WantedContrast]:
        """The contrasts. Raises InputError for what is none."""
        return parsed(self.contrasts, self.arms)

    @property
    def is_amortised(self) -> bool:
        """Whether the length of an arm depends on how many trainings use the search."""
        return any(arm.partition("+")[0] == "dense-amortised" for arm in self.arms)

    def with_arms(self, arms: tuple[str, ...]) -> "Compare":
        """The comparison of other arms, which asks nothing of those that it may lack."""
        other = replace(self, arms=arms, contrasts=())
        return other if other.is_amortised else replace(other, reuses=1)


if TYPE_CHECKING:

    @dataclass(frozen=True)
    class StudyFields:
        """The settings of each study: `lr`, `ratio`, `width`, ..."""

else:

    def _study_field(study):
        """The dataclass field with the settings of a study."""
        text = arg(metavar=study.metavar or None, help=f"study {study.name}: {study.help}")
        return study.field, Annotated[tuple[study.setting_type, ...], text], study.defaults

    StudyFields = make_dataclass(
        "StudyFields", [_study_field(load_study(name)) for name in STUDIES], frozen=True
    )


@dataclass(frozen=True)
class StudySettings(StudyFields):
    """What `study` varies, while all else is as in the recipe; no part of a run's identity."""


@dataclass(frozen=True)
class Compute:
    """Threads, memory format and precision: all that changes the bits of a result."""

    threads: Annotated[int, Range(least=1, most=1024)] = 2
    """CPU threads"""
    channels_last: bool = True
    """store images and weights channels last; false: PyTorch's default memory format"""
    precision: Literal["float32", "tf32", "bf16-attack", "bf16", "auto"] = "float32"
    """precision of training passes: float32; tf32: convolutions and products of float32 as TF32, on a GPU;
    bf16-attack: bfloat16 (autocast) in the training attack; bf16: in the update too; auto: bf16 on a machine
    with instructions for it, else float32. Weights, validation and evaluation are always float32"""
    compile: bool = False
    """compile training passes with torch.compile; needs a compiler, and its time is charged"""
    compact: bool = True
    """train a ticket without its dead channels, which gives the same network at less cost; false: train it
    with all zeros"""
