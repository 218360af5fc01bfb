"""Recursive tickets: rounds of training, pruning and growth."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.methods import make_method
from robust_tickets.tickets.methods.base import (
    PruningByTraining,
    SearchPlan,
    SearchResult,
    SearchTask,
    describe_length,
    records_with,
    round_length,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from robust_tickets.models.weights import StateDict
    from robust_tickets.pruning.mask import Mask


Insert = Literal["zero-block", "dirac-block", "identity-linear"]


@dataclass(frozen=True)
class RecursiveSettings:
    """The networks that the rounds train, and how one becomes the next."""

    networks: str = ""
    """networks of the family and width of model.name, the shallowest first and with spaces between, a round
    each, such as "resnet14 resnet20"; the last round trains model.name"""
    insert: Insert = "zero-block"
    """what a network grows by: zero-block: residual blocks whose last gamma is zero, which leave what it
    computes as it is; dirac-block: residual blocks whose kernels pass their input on, which double it;
    identity-linear: linear layers that are the identity (networks mlp-N)"""
    prune: bool = True
    """prune search.ratio of the weights that are left after each round; false: grow alone"""
    reset: bool = False
    """give all weights a new start after each round, as rewinding does: growth and reset together"""


class Recursive(PruningByTraining):
    """Trains, prunes and grows a network, round by round, and goes on with what it has learnt.

    Zhang 2021 (arXiv 2109.03862, section 3): weights that are left are kept, and not rewound; what is new is
    whole, and may be pruned in its turn. The ticket is that of the last round and starts from its trained
    weights. Each round has a schedule and an optimiser of its own.
    """

    Settings = RecursiveSettings
    settings: RecursiveSettings
    unused: ClassVar["Mapping[str, str]"] = {
        "rounds": "whose rounds are search.recursive.networks and model.name",
        **dict.fromkeys(("rewind_iterations", "rewind_epochs"), "which does not rewind"),
        "after": "whose weights are kept, or reset by search.recursive.reset",
        **dict.fromkeys(("basis", "basis_axes"), "which prunes weights"),
    }

    @property
    def rounds(self) -> int:
        return len(self.settings.networks.split()) + 1

    @property
    def keeps_trained_weights(self) -> bool:
        return not self.settings.reset

    def network(self, number: int) -> str:
        names = (*self.settings.networks.split(), "")
        return names[number - 1]

    def check_networks(
        self, net: "nn.Module", build: "Callable[[str], nn.Module]", shape: tuple[int, int, int]
    ) -> None:
        self._check_growth(self._networks(net, build))

    def find(self, task: SearchTask) -> SearchResult:
        """Train, prune and grow; the network is left trained, where it is that of the last round."""
        from robust_tickets.models.weights import copy_state, load_weights
        from robust_tickets.pruning.mask import Mask
        from robust_tickets.tickets.connectivity import check_paths
        from robust_tickets.training.loop import fit

        nets = self._networks(task.net, task.build)
        self._check_growth(nets)
        shape, session = task.data.spec.shape, task.session
        result, first = task.earlier, 1 if task.earlier is None else task.earlier.rounds + 1
        if result is not None:  # of a round that was kept though it is cut
            check_paths(nets[result.rounds - 1], result.mask, shape)
        for number in range(first, self.rounds + 1):
            net = nets[number - 1]
            if result is None:
                state, mask = copy_state(net), Mask.full(net)
            else:
                state, mask = self._grown(result.init, result.mask, net)
            load_weights(net, state, "round")
            saved = session.saved if number == first else None
            own = replace(session, checkpointer=session.checkpointer.for_round(number), saved=saved)
            trained = fit(net, None if mask.count == mask.size else mask, task.data, task.config, own)
            with session.ledger.phase("prune"):
                pruned = self._pruned(net, mask, shape)
            session.meter.note(f"round {number}/{self.rounds}  density {pruned.density:.1%}")
            init = state if self.settings.reset else copy_state(net)
            result = SearchResult(init, pruned, *records_with(result, trained), self.network(number))
            self.end_round(task, net, result)
        assert result is not None
        return result

    def _networks(self, net: "nn.Module", build: "Callable[[str], nn.Module]") -> "list[nn.Module]":
        """The network of each round; that of the last one is `net`."""
        names = map(self.network, range(1, self.rounds + 1))
        return [build(name) if name else net for name in names]

    def _check_growth(self, nets: "list[nn.Module]") -> None:
        """Raise InputError, before a round is trained, where a network cannot grow into the next one."""
        from robust_tickets.models.weights import copy_state, load_weights
        from robust_tickets.pruning.mask import Mask

        for net, deeper in pairwise(nets):
            before = copy_state(deeper)
            self._grown(copy_state(net), Mask.full(net), deeper)
            load_weights(deeper, before, "init")

    def _grown(self, state: "StateDict", mask: "Mask", deeper: "nn.Module") -> "tuple[StateDict, Mask]":
        """The state that a round begins from; `deeper` is left with it."""
        from robust_tickets.models.weights import copy_state, load_weights
        from robust_tickets.tickets.growth import grow

        init = copy_state(deeper)
        grown, new_mask = grow(state, mask, deeper, self.settings.insert)
        if not self.settings.reset:
            return grown, new_mask
        load_weights(deeper, init, "init")
        return init, new_mask

    def _pruned(self, net: "nn.Module", mask: "Mask", shape: tuple[int, int, int]) -> "Mask":
        from robust_tickets.pruning.layers import prunable_weights
        from robust_tickets.pruning.scores import SCORES
        from robust_tickets.tickets.pruning_step import pruning_step

        if not self.settings.prune:
            return mask
        scores = SCORES[self.search.criterion](prunable_weights(net), mask)
        return pruning_step(net, self.search, shape).prune(scores, mask)

    def plan(self, per_epoch: int) -> SearchPlan:
        """A round for each network. Raises InputError for rounds that are too short."""
        steps = round_length(self.search, per_epoch)
        make_method(self.search).check_length(FieldNames("search"), steps)
        return SearchPlan(steps, rewind=0, rounds=self.rounds, per_epoch=per_epoch)

    def check(self) -> None:
        super().check()
        if not self.settings.networks.split():
            raise InputError(
                "search.pruning_method recursive grows from the networks of search.recursive.networks, which "
                "is empty: name the shallower ones, as resnet14 for model.name resnet20, or mlp-1 for mlp-2"
            )
        if self.search.granularity == "channel":
            raise InputError(
                "search.pruning_method recursive prunes single weights, and search.granularity channel "
                "prunes whole channels: leave one out"
            )
        if self.search.stop_distance:
            raise InputError(
                "search.stop_distance does nothing with search.pruning_method recursive: leave it out"
            )
        if not self.settings.prune and self.search.ratio != type(self.search)().ratio:
            raise InputError("search.ratio does nothing where search.recursive.prune is false: leave it out")

    def describe(self) -> str:
        search, names = self.search, ", ".join(self.settings.networks.split())
        length = describe_length(search)
        words = f"recursive, {search.method}, from {names} by {self.settings.insert}, {length} a round"
        return f"{words} at lr {search.lr:g}"
