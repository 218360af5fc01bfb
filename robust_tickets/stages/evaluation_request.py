"""The request of an evaluation: attacks, images, threat models, networks, and where the results go."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from robust_tickets.attacks import Attack
from robust_tickets.base.errors import InputError
from robust_tickets.base.progress import Progress
from robust_tickets.data.dataset import Spec
from robust_tickets.evaluation.attack_names import build_attack, expand_attacks
from robust_tickets.models.user_net import NetFactory
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Threat
from robust_tickets.recipe.recipe import Recipe, check
from robust_tickets.stages.load_checkpoint import (
    SOURCE_FLAGS,
    ImageSource,
    NetDescription,
    NetFile,
    SourceNetDescription,
)
from robust_tickets.stages.specs import threat_model
from robust_tickets.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate a checkpoint on, and with.

    attacks: names of attacks and of sets of them.
    split: which images.
    limit: how many of them, balanced over the classes; 0: all.
    seed: of the attacks' random numbers.
    eps, norm: the threat model, by default that of the training; several eps give a curve.
    source: another checkpoint, whose network is attacked instead.
    images: where the images are.
    model: the network, where the file cannot say.
    source_model: the same for the source.
    runs: where the results of a checkpoint outside of any run go; None: beside it.
    save_images: folder for the adversarial images.
    batch: images that go through the network at a time; 0: as the training's recipe says.
    account: the beginning of the ledger's name.
    sanity: whether the sanity checks are run too; one evaluation of a checkpoint has them.
    threads: of PyTorch on the CPU; 0: as the training's recipe says.
    """

    attacks: tuple[str, ...]
    split: Literal["train", "val", "test"] = "test"
    limit: int = 0
    seed: int = 0
    eps: tuple[Eps, ...] = ()
    norm: Literal["Linf", "L2"] | None = None
    source: Path | None = None
    images: ImageSource = ImageSource()
    model: NetDescription = NetDescription()
    source_model: SourceNetDescription = SourceNetDescription()
    runs: Path | None = None
    save_images: Path | None = None
    batch: int = 0
    account: Literal["evaluate", "judge"] = "evaluate"
    sanity: bool = True
    threads: int = 0

    def load_target(self, path: Path, make: NetFactory | None, progress: Progress) -> NetFile:
        """Load the checkpoint to evaluate; make: builds a network of the user's own."""
        make = self.model.make if make is None else make
        return NetFile(path, self.model.checkpoint(path, self.images, self.split, progress), make)

    def load_source(self, target: Checkpoint, progress: Progress) -> NetFile | None:
        """Load the checkpoint that is attacked instead, if there is one."""
        if self.source is None:
            if not self.source_model.is_empty:
                raise InputError(
                    f"{SOURCE_FLAGS} says what network --from is of: give --from too, or leave it out"
                )
            return None
        description = self.source_model.over(self.model, self.source)
        # the data set that its file cannot name is that of the target
        name = self.images.name or target.resolved_recipe().data.name
        images = replace(self.images, name=name)
        checkpoint = description.checkpoint(self.source, images, self.split, progress)
        return NetFile(self.source, checkpoint, description.make)

    def recipes(self, training: Recipe) -> list[Recipe]:
        """The checkpoint's recipe on the images of the request, at each eps, from the smallest on.

        training: the recipe that the checkpoint was trained by.

        Raises InputError for a request that makes no sense, before any image is read.
        """
        if self.norm not in (None, training.threat.norm) and not self.eps:
            raise InputError(
                f"the checkpoint's eps, {training.threat.eps}, is for {training.threat.norm}: give one for "
                f"{self.norm} by --eps"
            )
        data = self.images.data(training.data, self.split)
        by_value: dict[float, Eps] = {}
        for eps in self.eps or (training.threat.eps,):
            by_value.setdefault(eps.value, eps)  # 0.5 and 1/2 are one point of the curve
        if training.threat.eps.value in by_value:  # in the spelling of the training, so that its rows match
            by_value[training.threat.eps.value] = training.threat.eps
        norm = self.norm or training.threat.norm
        settings = replace(training.evaluate, batch=self.batch or training.evaluate.batch)
        compute = replace(training.compute, threads=self.threads or training.compute.threads)
        recipes = [
            replace(training, data=data, threat=Threat(eps, norm), evaluate=settings, compute=compute)
            for _, eps in sorted(by_value.items())
        ]
        for recipe in recipes:
            check(recipe)
            list(self._attacks(recipe))
        return recipes

    def check_classes(self, recipe: Recipe, spec: Spec) -> None:
        """Raise InputError for an attack that needs more classes than the images have."""
        for name, attack in self._attacks(recipe):
            if attack.least_classes > spec.classes:
                raise InputError(
                    f"attack {name} needs {attack.least_classes} classes, {recipe.data.name} has "
                    f"{spec.classes}: name attacks without it, as --attacks quick apgd square"
                )

    def _attacks(self, recipe: Recipe) -> Iterator[tuple[str, Attack]]:
        """The attacks by name, without "clean". Raises InputError for unknown ones."""
        for name in expand_attacks(self.attacks):
            attack = build_attack(name, threat_model(recipe), recipe.evaluate.rel_step)
            if attack is not None:
                yield name, attack
