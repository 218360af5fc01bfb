"""What is run: a recipe, and what the user hands over beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from attacks import ThreatModel
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import Progress
from robust_tickets.data import dataset as dataset_module
from robust_tickets.data import load as loading
from robust_tickets.data.dataset import Dataset, Spec
from robust_tickets.models import fingerprint, user_net
from robust_tickets.models.flops import forward_flops
from robust_tickets.models.placement import place_net
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import NetFactory
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data, Training
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.stages.plan import TicketCost
from robust_tickets.tickets import narrow_net, starting_net
from robust_tickets.tickets.methods.base import SearchResult
from robust_tickets.tickets.narrow_net import masked_flops
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.config import TrainingConfig


@dataclass(frozen=True)
class Experiment:
    """A recipe, with the user's own net and images where they were handed over in Python.

    `net` makes a fresh net without normalisation or seed of ours; `images` stand in for the recipe's data.
    """

    recipe: Recipe
    net: NetFactory | None = None
    images: Dataset | None = None

    def spec(self, machine: Machine) -> Spec:
        """What is known of the images before training; of a folder, that takes reading them."""
        if self.images:
            return self.images.spec
        return (
            dataset_module.SPECS.get(self.recipe.data.name) or _read(self.recipe.data, machine.progress).spec
        )

    def load(self, machine: Machine) -> Dataset:
        """The images, in the memory of the machine's device."""
        return _placed_data(self.images, machine) if self.images else _load(self.recipe.data, machine)

    def model_spec(self, machine: Machine) -> ModelSpec:
        """All that is needed to build the net again, given the images."""
        return model_spec(self.recipe, self.spec(machine))

    @property
    def make(self) -> NetFactory | None:
        """The function that makes the user's own net; None where the recipe names one of ours."""
        if self.net is None and ":" in self.recipe.model.name:
            return user_net.import_function(self.recipe.model.name)
        return self.net

    def fresh_net(self, seed: int, machine: Machine) -> nn.Module:
        """The net, initialised by the seed, on the device and in the recipe's memory format."""
        return place_net(self._built(seed, machine), self.recipe.compute, machine)

    def _built(self, seed: int, machine: Machine) -> nn.Module:
        return user_net.make_net(self.model_spec(machine), self.make, seed=seed)

    @property
    def threat(self) -> ThreatModel:
        """The recipe's threat model."""
        return threat_model(self.recipe)

    def fit(self, training: Training, steps: int, seed: int, points: tuple[int, ...] = ()) -> TrainingConfig:
        """What the loop needs, for one training of so many steps, validated before those of `points` too."""
        recipe = self.recipe
        return TrainingConfig(
            training, steps, self.threat, recipe.evaluate, recipe.compute, seed, points=points
        )

    def inputs(self, seed: int, machine: Machine) -> dict[str, str]:
        """Fingerprints of what the recipe does not define: the user's own images and net."""
        prints = {}
        if self.images:
            prints["images"] = self.images.fingerprint
        elif self.recipe.data.name == "folder":
            prints["images"] = _read(self.recipe.data, machine.progress).fingerprint
        if self.make is not None:
            net = self._built(seed, machine)
            prints["net"] = fingerprint.function_fingerprint(net, self.spec(machine).shape)
            prints[f"net of seed {seed}"] = fingerprint.weights_fingerprint(net)
        return prints


_OTHER = 2**31
"""Between the seed of a run, which is smaller, and that of the init that its controls have instead."""


def other_init(what: Experiment, seed: int, machine: Machine) -> dict[str, Tensor]:
    """The state of another fresh net than the seed's, the same for all controls of the seed."""
    return copy_state(what.fresh_net(seed + _OTHER, machine))


def narrow_experiment(what: Experiment, ticket: Ticket, size: str, machine: Machine) -> Experiment:
    """The experiment with its net at the width that has as much as the ticket: of flops, or of weights."""
    spec = what.model_spec(machine)
    net = what.fresh_net(0, machine)
    ticket.mask.check_fits(net)
    flops = masked_flops(net, ticket.mask, spec.shape)
    spec = narrow_net.narrow_spec(spec, size, flops=flops, weights=ticket.mask.count)
    return replace(what, recipe=replace(what.recipe, model=replace(what.recipe.model, width=spec.width)))


def ticket_cost(what: Experiment, ticket: Ticket, machine: Machine) -> TicketCost:
    """What a ticket cost, and what a pass of the net that is trained from it costs."""
    shape = what.spec(machine).shape
    net = what.fresh_net(0, machine)
    small = starting_net.starting_net(net, ticket, shape, what.recipe.compute).net
    return TicketCost(ticket.flops, forward_flops(small, shape), forward_flops(net, shape))


def make_ticket(what: Experiment, found: SearchResult, images: Dataset, seed: int, ledger: Ledger) -> Ticket:
    """The ticket that a search found on these images, at the cost its ledger has so far."""
    return Ticket(
        model=model_spec(what.recipe, images.spec),
        init=found.init,
        mask=found.mask,
        search=search_fields(what.recipe, found.rounds),
        data=images.fingerprint,
        seed=seed,
        passes=ledger.charged_passes,
        flops=ledger.charged_flops,
    )


def unpruned_ticket(what: Experiment, first: Checkpoint, seed: int, ledger: Mapping[str, Any]) -> Ticket:
    """A ticket that prunes nothing and begins from a checkpoint, at the cost that its ledger has."""
    return Ticket(
        model=first.model,
        init=first.state,
        mask=Mask.full(first.net(what.make)),
        search=search_fields(what.recipe, what.recipe.search.rounds),
        data=first.data,
        seed=seed,
        passes=ledger["charged_passes"],
        flops=ledger["charged_flops"],
    )


def search_fields(what: Recipe, rounds: int) -> dict[str, Any]:
    """The part of a recipe that decides which ticket so many rounds find."""
    whole = recipes.to_table(what)
    part = {concern: whole[concern] for concern in ("data", "model", "threat", "search", "compute")}
    part["search"]["rounds"] = rounds
    return part


def model_spec(recipe: Recipe, spec: Spec) -> ModelSpec:
    """What the recipe's net is on the images of `spec`."""
    model = recipe.model
    return ModelSpec(
        model.name,
        model.width,
        spec.shape,
        spec.classes,
        spec.mean,
        spec.std,
        init=model.init,
        dropout=model.dropout,
    )


def threat_model(recipe: Recipe) -> ThreatModel:
    """The recipe's threat model."""
    return ThreatModel(recipe.threat.norm, recipe.threat.eps.value)


@lru_cache(maxsize=1)
def _read(which: Data, progress: Progress) -> Dataset:
    """The data set in host memory; read once for all stages of a process."""
    return loading.load(which, progress.log)


@lru_cache(maxsize=1)
def _load(which: Data, machine: Machine) -> Dataset:
    """The data set on the machine's device."""
    return _placed_data(_read(which, machine.progress), machine)


def _placed_data(dataset: Dataset, machine: Machine) -> Dataset:
    parts = {name: getattr(dataset, name).to(machine.device) for name in ("train", "val", "test")}
    return replace(dataset, **parts)
