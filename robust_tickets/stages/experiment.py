"""An experiment: a recipe, the machine that it runs on, and what the user passes in Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from robust_tickets.attacks import ThreatModel
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.data.dataset import Dataset, Spec
from robust_tickets.models import fingerprint, fresh_weights, user_net
from robust_tickets.models.batch_of_one import check_batch_of_one
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.placement import place_net
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import NetFactory
from robust_tickets.models.weights import copy_state
from robust_tickets.models.whole_state import hidden_draws
from robust_tickets.pruning.criteria import ignored_layers
from robust_tickets.pruning.densities import random_mask
from robust_tickets.pruning.layers import layer_roles
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.arms import ARMS
from robust_tickets.recipe.pruning_methods import pruning_method_class
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train, Training
from robust_tickets.stages.specs import data_spec, images_on, model_spec, read_images, threat_model
from robust_tickets.stages.step_lengths import TicketCost
from robust_tickets.stages.unsupported import unsupported_parts
from robust_tickets.tickets import narrow_net, starting_net
from robust_tickets.tickets.methods.base import SearchResult
from robust_tickets.tickets.narrow_net import masked_flops
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import NEW_INITS
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.checkpointer import Checkpointer
from robust_tickets.training.config import TrainingConfig
from robust_tickets.training.data_parallel import check_parallel


@dataclass(frozen=True)
class Experiment:
    """What the stages run, and where.

    recipe: all settings.
    net: makes the user's own network, without normalisation; None: the network that the recipe names.
    images: the user's own; None: the data set that the recipe names.
    machine: the device, and who sees the progress.
    """

    recipe: Recipe
    net: NetFactory | None = None
    images: Dataset | None = None
    machine: Machine = Machine("cpu", SilentProgress())

    def __getstate__(self) -> dict[str, Any]:
        """Pickled without the machine, since another process has its own."""
        return {**self.__dict__, "machine": Machine("cpu", SilentProgress())}

    @property
    def spec(self) -> Spec:
        """Shape, classes and counts of the images; to know those of a folder, its images are read."""
        if self.images:
            return self.images.spec
        return data_spec(self.recipe.data, self.machine.progress)

    @property
    def model_spec(self) -> ModelSpec:
        """Everything that the network is built from."""
        return model_spec(self.recipe, self.spec)

    @property
    def threat(self) -> ThreatModel:
        """The recipe's threat model."""
        return threat_model(self.recipe)

    @property
    def make(self) -> NetFactory | None:
        """The function that makes the user's own network; None where the recipe names one of this package."""
        if self.net is None and ":" in self.recipe.model.name:
            return user_net.import_function(self.recipe.model.name)
        return self.net

    def log(self, line: str) -> None:
        """Show a line to whoever sees the progress."""
        self.machine.progress.log(line)

    def prepare(self) -> None:
        """Set up device and threads. Raises InputError for a device that cannot be used."""
        self.machine.prepare(self.recipe.compute.threads)

    def load(self) -> Dataset:
        """Read the images into the memory of the device."""
        if self.images:
            return self.images.to(self.machine.device)
        return images_on(self.recipe.data, self.machine.device, self.machine.progress)

    def fresh_net(self, seed: int, warn: bool = False) -> nn.Module:
        """Build the network, initialised by the seed, on the device and in the recipe's memory format.

        warn: show, once, which of its parts cannot be pruned, trained or folded.
        """
        net = place_net(self._built(seed), self.recipe.compute, self.machine.device)
        for line in unsupported_parts(net, self.spec.shape) if warn else ():
            self.machine.progress.warn_once(line)
        return net

    def _built(self, seed: int) -> nn.Module:
        return user_net.make_net(self.model_spec, self.make, seed=seed)

    def init_problem(self, seed: int) -> str:
        """A line where the user's function gives other weights at each call; "": none.

        Raises InputError where it gives the same network again, or draws what no state dict holds.
        """
        if self.make is None:
            return ""
        name = self.model_spec.name
        problem = fresh_weights.init_problem(self._built, name, seed)
        if not problem:
            words = hidden_draws(self._built(seed), self._built(seed + 1), self.spec.shape)
            if words:
                raise InputError(f"{name} {words}")
        return problem

    def check_batch(self, net: nn.Module, training: Training, field: str) -> None:
        """Raise InputError where a batch is one image, and too small, or devices cannot share it.

        field: the batch's name in messages.
        """
        if training.batch == 1:
            check_batch_of_one(net, self.spec.shape, field)
        if self.machine.world_size > 1:
            check_parallel(net, training, self.machine.world_size, field)

    def config(
        self, training: Training, steps: int, seed: int, points: tuple[int, ...] = ()
    ) -> TrainingConfig:
        """The settings of one training of so many steps; points: steps before which it is validated too."""
        recipe = self.recipe
        config = TrainingConfig(
            training, steps, self.threat, recipe.evaluate, recipe.compute, seed, points=points
        )
        if not isinstance(training, Train):  # a search prunes the weights themselves
            return config
        return replace(config, average=training.average, average_batches=training.average_batches)

    def checkpointer(self, folder: Path, identity: dict[str, Any]) -> Checkpointer:
        """Saves the states of a training as often as the machine says; arguments as `Checkpointer` has."""
        machine = self.machine
        limits = machine.checkpoint_minutes, machine.checkpoint_steps
        return Checkpointer(folder, identity, *limits, machine.progress)

    def inputs(self, seed: int) -> dict[str, str]:
        """Fingerprints of what the recipe does not define: the user's own images and network."""
        prints = {}
        if self.images:
            prints["images"] = self.images.fingerprint
        elif self.recipe.data.name == "folder":
            prints["images"] = read_images(self.recipe.data, self.machine.progress).fingerprint
        if self.make is not None:
            problem = self.init_problem(seed)
            if problem:
                raise InputError(problem)
            net = self._built(seed)
            prints["net"] = fingerprint.function_fingerprint(net, self.spec.shape)
            prints[f"net of seed {seed}"] = fingerprint.weights_fingerprint(net)
        return prints


_OTHER_INIT = 2**31
"""Added to the seed of a run, which is smaller, for the init that its controls have instead."""


def other_net(experiment: Experiment, seed: int) -> nn.Module:
    """A fresh network other than the seed's, the same for all controls of the seed."""
    return experiment.fresh_net(seed + _OTHER_INIT)


def check_other_inits(experiment: Experiment, seeds: Sequence[int], arms: Sequence[str]) -> None:
    """Check, before any training, that seeds give the inits that are expected of them; else warn.

    arms: those that are trained.
    Raises InputError where some start from a new init, and the user's function has none.
    """
    new = [arm for arm in arms if ARMS[arm].transform in NEW_INITS]
    if experiment.make is None or (not new and len(seeds) < 2):
        return
    pair = (seeds[0], seeds[0] + _OTHER_INIT) if new else seeds[:2]
    name = experiment.model_spec.name
    for line in fresh_weights.seed_warnings(experiment._built, name, pair, new):
        experiment.machine.progress.warn_once(line)


def narrow_experiment(experiment: Experiment, ticket: Ticket, size: str) -> Experiment:
    """The experiment with its network as narrow as the ticket; size: in flops, or in weights."""
    spec = experiment.model_spec
    net = experiment.fresh_net(0)
    ticket.mask.check_fits(net)
    flops = masked_flops(net, ticket.mask, spec.shape)
    spec = narrow_net.narrow_spec(spec, size, flops=flops, weights=ticket.mask.count)
    model = replace(experiment.recipe.model, width=spec.width)
    return replace(experiment, recipe=replace(experiment.recipe, model=model))


def ticket_cost(experiment: Experiment, ticket: Ticket) -> TicketCost:
    """The FLOPs of a ticket's search, and of a forward pass of the networks with and without it."""
    shape = experiment.spec.shape
    net = experiment.fresh_net(0)
    small = starting_net.starting_net(net, ticket, shape, experiment.recipe.compute).net
    flops = forward_flops(small, shape), forward_flops(net, shape)
    return TicketCost(ticket.flops, *flops)


def make_ticket(
    experiment: Experiment, result: SearchResult, images: Dataset, seed: int, ledger: Ledger
) -> Ticket:
    """The ticket of a search on these images, at the cost in its ledger so far."""
    spec = model_spec(experiment.recipe, images.spec)
    return Ticket(
        model=replace(spec, name=result.network or spec.name),
        init=result.init,
        mask=result.mask,
        search=search_fields(experiment.recipe, result.rounds),
        data=images.fingerprint,
        seed=seed,
        passes=ledger.charged_passes,
        flops=ledger.charged_flops,
    )


def unpruned_ticket(
    experiment: Experiment, first: Checkpoint, seed: int, ledger: Mapping[str, Any]
) -> Ticket:
    """A ticket that prunes nothing and starts from a checkpoint, at the cost in its ledger."""
    return Ticket(
        model=first.model,
        init=first.state,
        mask=Mask.full(first.net(experiment.make)),
        search=search_fields(experiment.recipe, experiment.recipe.search.rounds),
        data=first.data,
        seed=seed,
        passes=ledger["charged_passes"],
        flops=ledger["charged_flops"],
    )


def random_ticket(experiment: Experiment, seed: int) -> Ticket:
    """The seed's init under a random mask as dense as the recipe's ticket, which costs nothing.

    Layers have the densities of an Erdos-Renyi graph with kernel sizes (Evci et al. 2020, section 3). Raises
    InputError where they would leave nothing of a layer.
    """
    search, spec = experiment.recipe.search, experiment.spec
    net = experiment.fresh_net(seed)
    full = Mask.full(net)
    ignored = ignored_layers(search, full, layer_roles(net, spec.shape))
    mask = random_mask(full, 1 - (1 - search.ratio) ** search.rounds, "erk", seed, ignored)
    fields = search_fields(experiment.recipe, search.rounds)
    return Ticket(experiment.model_spec, copy_state(net), mask, fields, "", seed, passes=0, flops=0)


def search_fields(recipe: Recipe, rounds: int) -> dict[str, Any]:
    """The part of a recipe that decides which ticket so many rounds find."""
    table = recipes.to_table(recipe)
    part = {concern: table[concern] for concern in ("data", "model", "threat", "search", "compute")}
    if "rounds" not in pruning_method_class(recipe.search.pruning_method).unused:
        part["search"]["rounds"] = rounds
    return part
