"""The recipe: everything that defines a run, one frozen dataclass a concern.

The dataclasses are the command line (`--search.lr 0.01`) and the TOML file; the text under a field is its
help.
"""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w

from robust_tickets import schema
from robust_tickets.eps import Eps
from robust_tickets.errors import InputError, unknown
from robust_tickets.schema import Count, CountOrZero, NotNegative, Positive, Range, Share, ShareOrZero

FORMAT = 1
"""Version of the run directory's layout; part of a run's identity."""

DataName = Literal["digits", "cifar10"]
ModelName = Literal["lenet-300-100", "vgg16", "resnet20"]
Method = Literal["natural", "fgsm", "pgd"]
Schedule = Literal["step", "constant"]
Scores = Literal["magnitude", "magnitude-over-layer-mean"]
Arm = Literal["dense", "dense-short", "dense-equal-cost", "dense-search-lr", "ticket"]


@dataclass(frozen=True)
class Data:
    """The images, and how many of them are used."""

    name: DataName = "digits"
    """data set: digits (scikit-learn's, embedded) or cifar10"""
    root: Path | None = None
    """cifar10: torchvision's folder, a tree train/<class>/*.png and test/<class>/*.png, or a tar archive of
    such a tree; without it the environment variable ROBUST_TICKETS_CIFAR10 is asked; never recorded"""
    download: bool = False
    """cifar10: let torchvision download it into the root; never recorded"""
    train_images: CountOrZero = 0
    """training images, balanced over the classes; 0: all that validation leaves"""
    val_images: Count = 180
    """images held out of the training set for validation: the same ones for every seed"""


@dataclass(frozen=True)
class Model:
    """The net."""

    name: ModelName = "resnet20"
    """architecture"""
    width: Annotated[float, Range(above=0, most=64)] = 1.0
    """factor on all hidden widths (channels are rounded to multiples of 8)"""


EPS_CIFAR = Eps("8/255")
"""The radius that most of the literature uses on CIFAR-10."""


@dataclass(frozen=True)
class Threat:
    """What the adversary may do: any pixel by at most eps (Linf)."""

    eps: Eps = EPS_CIFAR
    """radius of the Linf ball, for pixels in [0, 1]; kept as written"""


@dataclass(frozen=True)
class Pgd:
    """The training attack where the method is pgd."""

    steps: Count = 10
    """gradient steps"""
    rel_step: Positive = 0.25
    """step size as a share of eps"""
    random_start: bool = True
    """begin at a uniform point of the ball instead of the image"""


@dataclass(frozen=True)
class Training:
    """One training: method, optimiser (SGD) and schedule."""

    method: Method = "pgd"
    """images trained on: natural, fgsm (one step of eps, no random start) or pgd"""
    pgd: Pgd = Pgd()
    epochs: Count = 30
    """passes over the training images"""
    batch: Count = 128
    """images a step; an epoch's last, smaller batch is left out"""
    lr: Positive = 0.1
    """learning rate, at its highest"""
    momentum: ShareOrZero = 0.9
    """SGD momentum"""
    weight_decay: NotNegative = 5e-4
    """L2 weight decay, on all parameters"""
    schedule: Schedule = "step"
    """step: times 0.1 at 50 % and at 75 % of the steps; constant"""
    warmup: ShareOrZero = 0.0
    """share of the steps over which the rate rises linearly from warmup_lr to lr; 0: none"""
    warmup_lr: NotNegative = 0.0
    """learning rate at which the warm-up begins"""


@dataclass(frozen=True)
class Search(Training):
    """How the ticket is found: train, prune, rewind to the init; again `rounds` times."""

    epochs: Count = 30
    """epochs of each round"""
    rounds: Count = 1
    """how often it is trained, pruned and rewound; 1 is one-shot pruning"""
    ratio: Share = 0.8
    """share of the weights still there that a round removes, over all layers together"""
    scores: Scores = "magnitude-over-layer-mean"
    """what decides: the weight's magnitude, or that divided by the mean magnitude of its layer"""


@dataclass(frozen=True)
class Train(Training):
    """The training that is compared: dense or from the ticket, on one schedule chosen for dense."""

    epochs: Count = 30
    """epochs of the full schedule, for dense nets"""
    ticket_epochs: Count = 15
    """epochs of the short schedule, for the ticket and for dense-short; the same shape"""


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
    """steps of the PGD that chooses the best epoch on the validation images"""


@dataclass(frozen=True)
class Compare:
    """Which arms stand beside each other."""

    arms: tuple[Arm, ...] = ("dense", "dense-short", "dense-equal-cost", "ticket")
    """dense: full schedule; dense-short: the ticket's epochs; dense-equal-cost: as many epochs as the
    ticket's search and training cost in FLOPs, rounded up; dense-search-lr: full schedule from the
    search's lr, no warm-up;
    ticket"""


@dataclass(frozen=True)
class Compute:
    """How the arithmetic is done; what changes the bits is part of the recipe."""

    threads: Annotated[int, Range(least=1, most=1024)] = 2
    """CPU threads"""
    channels_last: bool = True
    """memory format of images and weights: channels last, or PyTorch's default"""


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a run. Two runs are the same run if their recipes are equal."""

    name: str = "custom"
    """name of the recipe; run directories begin with it"""
    summary: str = ""
    """one line on what it is for; not part of the run's identity"""
    data: Data = Data()
    model: Model = Model()
    threat: Threat = Threat()
    search: Search = Search()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    compare: Compare = Compare()
    compute: Compute = Compute()

    @property
    def identity(self) -> str:
        """Eight hex digits of the whole resolved recipe and the format, without paths and prose."""
        return _digest({"format": FORMAT, **record(self)})


def record(recipe: Recipe) -> dict[str, Any]:
    """The recipe as run directories and tickets keep it: every field resolved, no path and no prose."""
    table = schema.plain(recipe)
    for private in ("root", "download"):
        table["data"].pop(private, None)
    del table["summary"]
    return dict(table)


def read(table: object, base: Recipe | None = None) -> Recipe:
    """A checked recipe from plain tables, `base` (or the defaults) where they are silent."""
    recipe = schema.read(Recipe, table, base)
    check(recipe)
    return recipe


def check(recipe: Recipe) -> None:
    """Raise InputError where a field, or two fields together, make no sense."""
    schema.check(recipe)
    if not recipe.name or not all(c.isalnum() or c in "-_." for c in recipe.name) or recipe.name[0] == ".":
        raise InputError(
            f"name {recipe.name!r} becomes a folder: set name to letters, digits, '-', '_' and '.' alone"
        )
    if len(set(recipe.compare.arms)) < len(recipe.compare.arms):
        raise InputError(f"compare.arms names an arm twice: {' '.join(recipe.compare.arms)}")
    if "dense" not in recipe.compare.arms:
        raise InputError("compare.arms lacks dense, which the other arms are measured against: add it")
    for concern, training in (("search", recipe.search), ("train", recipe.train)):
        if training.warmup and training.warmup_lr > training.lr:
            raise InputError(
                f"{concern}.warmup_lr {training.warmup_lr:g} lies above {concern}.lr {training.lr:g}: "
                "a warm-up rises, so choose it smaller"
            )
        if training.warmup_lr and not training.warmup:
            raise InputError(f"{concern}.warmup_lr does nothing without {concern}.warmup: set both or none")


def load(recipe: str) -> Recipe:
    """The shipped recipe of that name, or the one in that TOML file. Raises InputError if there is none."""
    if recipe in shipped():
        text = (_folder() / f"{recipe}.toml").read_text(encoding="utf-8")
    else:
        path = Path(recipe)
        if path.suffix != ".toml" and not path.is_file():
            raise unknown("recipe", recipe, shipped())
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            known = ", ".join(shipped())
            raise InputError(
                f"cannot read the recipe {recipe} ({reason}): give a TOML file, or one of {known}"
            ) from None
    try:
        table = tomllib.loads(text)
        data = table.get("data")
        for place in ("root", "download"):
            if isinstance(data, dict) and place in data:
                raise InputError(
                    f"data.{place} is of this machine and not of the recipe: give it by --data.{place}"
                )
        return read({"name": Path(recipe).stem, **table})
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{recipe} is no valid TOML: {error}") from None
    except InputError as error:
        raise InputError(f"{recipe}: {error}") from None


def dumps(recipe: Recipe) -> str:
    """The recipe as TOML, as run directories keep it."""
    return tomli_w.dumps(record(recipe))


def shipped() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml"))


def _folder() -> Traversable:
    return resources.files("robust_tickets.recipes")


def _digest(table: dict[str, Any]) -> str:
    text = json.dumps(table, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
