"""What the user names beside a checkpoint: where the images are, and what its net is."""

from dataclasses import dataclass, replace
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.models import user_net
from robust_tickets.models.user_net import NetFactory
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data, DataName, Model
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs import tensor_file
from robust_tickets.stages.experiment import Experiment, model_spec
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.published_weights import load_published, parse_normalisation

SOURCE_FLAGS = "--from-model"
"""What the command line calls the flags of the net that is attacked instead."""


@dataclass(frozen=True)
class ImageSource:
    """Where the images of an evaluation are; a name of None is the set that the checkpoint was trained on."""

    name: DataName | None = None
    root: Path | None = None
    download: bool = False
    resize: int = 0

    def data(self, recorded: Data, split: str) -> Data:
        """The images to judge on, where `recorded` are those that the checkpoint was trained on."""
        resize = self.resize or recorded.resize
        here = replace(recorded, root=self.root, download=self.download, resize=resize)
        if self.name in (None, recorded.name):
            return here
        resize = resize if self.name == "folder" else 0
        other = replace(here, name=self.name, resize=resize, flip=False, train_images=0)
        # how another set was divided for training says nothing of this one
        return replace(other, val_images=1) if split == "test" else other


@dataclass(frozen=True)
class NetDescription:
    """What the user says of a checkpoint's net.

    Its name (a net of ours, or module:function) and, for published weights, width and normalisation. flags:
    what the command line calls these, for messages.
    """

    name: str | None = None
    width: float = 1.0
    normalise: str | None = None
    flags: str = "--model"

    @property
    def make(self) -> NetFactory | None:
        """The function that makes a net of the user's own; None where it is one of ours."""
        return user_net.import_function(self.name) if self.name is not None and ":" in self.name else None

    def checkpoint(self, file: Path, source: ImageSource, split: str, machine: Machine) -> Checkpoint:
        """The checkpoint in a file: ours, or published weights for the net and the data set named.

        Raises InputError for published weights without those two names, for a checkpoint of ours whose own
        net is not the one named, and for what cannot be read or does not fit.
        """
        if not file.is_file() or tensor_file.is_ours(file):
            checkpoint = Checkpoint.load(file)
            self._check_agrees(file, checkpoint)
            return checkpoint
        hint = (
            f"published weights need the name of their net, {self.flags}.name, and of a data set, --data.name"
        )
        if self.name is None:
            try:
                return Checkpoint.load(file)
            except InputError as error:
                raise InputError(f"{error}; or, if it is no checkpoint of ours: {hint}") from None
        if source.name is None:
            raise InputError(f"{file} does not say what it was trained on: {hint}")
        where = source.data(Data(), split)
        what = replace(Recipe(), data=where, model=Model(name=self.name, width=self.width))
        recipes.check(what)
        spec = Experiment(what).spec(machine)
        mean, std = parse_normalisation(self.normalise or "none", spec)
        model = replace(model_spec(what, spec), mean=mean, std=std)
        return load_published(file, model, what, self.make, normalised=self.normalise is not None)

    def _check_agrees(self, file: Path, checkpoint: Checkpoint) -> None:
        if (self.width, self.normalise) != (1.0, None):
            raise InputError(
                f"{file} says itself what net it is of: leave out {self.flags}.width and "
                f"{self.flags}.normalise"
            )
        if self.name is None and ":" in checkpoint.model.name and self.flags == SOURCE_FLAGS:
            raise InputError(
                f"{file} is a checkpoint of {checkpoint.model.name}, and no code is run because a file names "
                f"it: name the function that makes the net, {self.flags}.name {checkpoint.model.name}"
            )
        theirs, mine = (name is not None and ":" in name for name in (checkpoint.model.name, self.name))
        # of nets of the user's own, only whether the weights fit can be known: a name may have moved
        if self.name is not None and self.name != checkpoint.model.name and not (theirs and mine):
            raise InputError(
                f"{file} is a checkpoint of {checkpoint.model.name}, not of {self.name}: leave out "
                f"{self.flags}.name, or name that"
            )


@dataclass(frozen=True)
class SourceNetDescription:
    """What the user says of the net that is attacked instead, where it is not what `Named` says of both."""

    name: str | None = None
    width: float | None = None
    normalise: str | None = None

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return self != SourceNetDescription()

    def over(self, model: NetDescription, file: Path) -> NetDescription:
        """What is known of the net in that file: what is said here, then what `model` says.

        A checkpoint of ours speaks for itself.
        """
        ours = tensor_file.is_ours(file) and ":" not in Checkpoint.load(file).model.name
        base = NetDescription() if ours else model
        said = {key: value for key, value in vars(self).items() if value is not None}
        return replace(base, flags=SOURCE_FLAGS, **said)
