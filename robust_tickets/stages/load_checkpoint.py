"""Loads the checkpoint of an evaluation, by its file and what the user says of images and network."""

from dataclasses import dataclass, replace
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.base.paths import module_name
from robust_tickets.base.progress import Progress
from robust_tickets.models import user_net
from robust_tickets.models.user_net import NetFactory
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data, DataName, Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import tensor_file
from robust_tickets.stages.specs import data_spec, model_spec
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.program_file import is_program, load_program
from robust_tickets.training.published_weights import load_published, parse_normalisation

SOURCE_FLAGS = "--from-model"
"""The command line's flags of the network that is attacked instead."""


@dataclass(frozen=True)
class ImageSource:
    """Where the images of an evaluation are.

    name: the data set; None: the one that the checkpoint was trained on.
    root: its folder; None: as for training.
    download: whether torchvision may download it.
    resize: side of the square that images of a folder are scaled and cropped to; 0: as recorded.
    """

    name: DataName | None = None
    root: Path | None = None
    download: bool = False
    resize: int = 0

    def data(self, recorded: Data, split: str) -> Data:
        """The images to evaluate on; recorded: those that the checkpoint was trained on."""
        resize = self.resize or recorded.resize
        same = replace(recorded, root=self.root, download=self.download, resize=resize)
        if self.name in (None, recorded.name):
            return same
        resize = resize if self.name == "folder" else 0
        other = replace(same, name=self.name, resize=resize, flip=False, train_images=0)
        # the split of another set for training says nothing of this one
        return replace(other, val_images=1) if split == "test" else other


@dataclass(frozen=True)
class NetDescription:
    """What the user says of a checkpoint's network.

    name: a network of this package, module:function, or folder/module.py:function.
    width: of published weights, the factor on the network's hidden widths.
    normalise: of published weights, the normalisation that the network was trained with.
    weights: of published weights, which ones of a file with several: "raw", "averaged" or a key.
    flags: the command line's name for these, for messages.
    """

    name: str | None = None
    width: float = 1.0
    normalise: str | None = None
    weights: str | None = None
    flags: str = "--model"

    def __post_init__(self) -> None:
        """Name a module that is named by its file as any other."""
        if self.name is not None:
            object.__setattr__(self, "name", module_name(self.name))

    @property
    def make(self) -> NetFactory | None:
        """The function that makes a network of the user's own; None for one of this package."""
        return user_net.import_function(self.name) if self.name is not None and ":" in self.name else None

    def checkpoint(self, file: Path, images: ImageSource, split: str, progress: Progress) -> Checkpoint:
        """The checkpoint in a file: of this package, exported as a program, or published weights.

        Published weights need the names of network and data set. Raises InputError where these are missing,
        where a checkpoint of this package is of another network than the one named, and for a file that
        cannot be read or does not fit.
        """
        if is_program(file):
            if self != NetDescription(flags=self.flags):
                raise InputError(f"{file} is a program, which holds its network: leave out {self.flags}")
            return load_program(file)
        if file.suffix == ".onnx":
            raise InputError(
                f"{file} is an ONNX model, in which attacks have no gradients: name the checkpoint "
                "that it was exported from, or the program of export --format torch (.pt2)"
            )
        if not file.is_file() or tensor_file.is_ours(file):
            checkpoint = Checkpoint.load(file)
            self._check_agrees(file, checkpoint)
            return checkpoint
        hint = (
            f"published weights need the name of their network, {self.flags}.name, and of a data set, "
            "--data.name"
        )
        if self.name is None:
            try:
                return Checkpoint.load(file)
            except InputError as error:
                raise InputError(f"{error}; or, if it is another file of weights: {hint}") from None
        if images.name is None:
            raise InputError(f"{file} does not say what it was trained on: {hint}")
        model = Model(name=self.name, width=self.width)
        recipe = replace(Recipe(), data=images.data(Data(), split), model=model)
        recipes.check(recipe)
        spec = data_spec(recipe.data, progress)
        mean, std = parse_normalisation(self.normalise or "none", spec)
        layout = replace(model_spec(recipe, spec), mean=mean, std=std)
        return load_published(
            file,
            layout,
            recipe,
            self.make,
            normalised=self.normalise is not None,
            weights=self.weights,
            flags=self.flags,
            log=progress.log,
        )

    def _check_agrees(self, file: Path, checkpoint: Checkpoint) -> None:
        if (self.width, self.normalise, self.weights) != (1.0, None, None):
            raise InputError(
                f"{file} says itself what network it is of: leave out {self.flags}.width, "
                f"{self.flags}.normalise and {self.flags}.weights"
            )
        recorded = checkpoint.model.name
        if self.name is None and ":" in recorded and self.flags == SOURCE_FLAGS:
            raise InputError(
                f"{file} is a checkpoint of {recorded}, and no code is run because a file names it: name the "
                f"function that makes the network, {self.flags}.name {recorded}"
            )
        # of two functions of the user, only whether the weights fit can be known: a name may have moved
        functions = self.name is not None and ":" in self.name and ":" in recorded
        if self.name is not None and self.name != recorded and not functions:
            raise InputError(
                f"{file} is a checkpoint of {recorded}, not of {self.name}: leave out {self.flags}.name, or "
                "name that"
            )


@dataclass(frozen=True)
class SourceNetDescription:
    """What the user says of the network that is attacked instead, where it differs from `NetDescription`."""

    name: str | None = None
    width: float | None = None
    normalise: str | None = None
    weights: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the user says nothing."""
        return self == SourceNetDescription()

    def over(self, model: NetDescription, file: Path) -> NetDescription:
        """The description of the network in that file: this one where it says something, else `model`.

        A checkpoint of this package describes itself, and so does a program.
        """
        describes_itself = is_program(file) or (
            tensor_file.is_ours(file) and ":" not in Checkpoint.load(file).model.name
        )
        base = NetDescription() if describes_itself else model
        own = {key: value for key, value in vars(self).items() if value is not None}
        return replace(base, flags=SOURCE_FLAGS, **own)


@dataclass(frozen=True)
class NetFile:
    """A checkpoint and its file; make: builds its network, where that is the user's own."""

    path: Path
    checkpoint: Checkpoint
    make: NetFactory | None
