"""Iterative magnitude pruning: train, prune the smallest weights, rewind the others, again."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

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
    from torch import nn

    from robust_tickets.pruning.layers import Shape
    from robust_tickets.pruning.mask import Mask
    from robust_tickets.tickets.compact_net import CompactNet
    from robust_tickets.tickets.pruning_step import PruningStep


class IMP(PruningByTraining):
    """Iterative magnitude pruning, which is one-shot pruning with one round.

    Each round trains the network under the mask so far, prunes the share `search.ratio` of the weights, or
    channels, that are left, and rewinds the others: to the init (Frankle & Carbin 2019, strategy 1; Li et al.
    2020, section 3.1, with one round), to the weights before step k of the first round, at that step of the
    schedule and of the batches (Frankle et al. 2020, arXiv 1912.05671, section 2), or, with `search.after
    lr-rewind`, not at all: then rounds and ticket start from the trained weights, and the learning rate alone
    is rewound (Renda et al. 2020, arXiv 2003.02389, section 2). Once whole channels are gone, rounds train
    the smaller network. A round may end early, by the distance of its epochs' masks (`MaskConvergence`).
    """

    trains_smaller_networks = True

    @property
    def rounds(self) -> int:
        return self.search.rounds

    @property
    def keeps_trained_weights(self) -> bool:
        return self.search.after == "lr-rewind"

    def check_networks(self, net: "nn.Module", build: "Callable[[str], nn.Module]", shape: "Shape") -> None:
        from robust_tickets.tickets.basis_search import first_mask

        first_mask(net, self.search, shape, 0)

    def find(self, task: SearchTask) -> SearchResult:
        """Train, prune and rewind for `search.rounds` rounds; the network is left trained."""
        from robust_tickets.data.batches import steps_per_epoch
        from robust_tickets.models.weights import copy_state, load_weights
        from robust_tickets.tickets.basis_search import first_mask
        from robust_tickets.tickets.connectivity import check_paths
        from robust_tickets.tickets.mask_distance import MaskConvergence
        from robust_tickets.tickets.pruning_step import pruning_step
        from robust_tickets.training.loop import fit

        net, data, config, session, search = task.net, task.data, task.config, task.session, self.search
        step = pruning_step(net, search, data.spec.shape)
        rewind = self.plan(steps_per_epoch(len(data.train), search.batch)).rewind
        full = first_mask(net, search, data.spec.shape, config.seed)
        result = task.earlier or SearchResult(copy_state(net), full, [])
        first = task.earlier.rounds + 1 if task.earlier else 1
        left = search.rounds - first + 1
        if task.earlier:
            check_paths(net, result.mask, data.spec.shape)  # of a round that was kept though it is cut
        step.check(net, result.mask, left, compact=left > 1 or config.compute.compact)
        compares = not search.basis.startswith("svd")  # masks of two bases have nothing in common
        for number in range(first, search.rounds + 1):
            load_weights(net, result.init, "init")
            small = step.compact(net, result.mask)
            next_mask = partial(self._next_mask, net, small, result, step, data.spec.shape)
            trained = fit(
                net if small is None else small.net,
                result.mask if small is None else small.mask,
                data,
                replace(config, early_step=rewind) if number == 1 else replace(config, begin=rewind),
                replace(
                    session,
                    checkpointer=session.checkpointer.for_round(number),
                    saved=session.saved if number == first else None,
                    hook=MaskConvergence(result.mask, next_mask, search.stop_distance) if compares else None,
                ),
            )
            with session.ledger.phase("prune"):
                mask = next_mask()
            if trained.history[-1]["step"] < config.steps and search.stop_distance:
                session.meter.note(f"round {number}: the mask has converged after epoch {trained.last_epoch}")
            session.meter.note(f"round {number}/{search.rounds}  density {mask.density:.1%}")
            result = SearchResult(
                copy_state(net) if search.after == "lr-rewind" else trained.early or result.init,
                mask,
                *records_with(result, trained),
            )
            self.end_round(task, net, result)
        return result

    def _next_mask(
        self,
        net: "nn.Module",
        small: "CompactNet | None",
        result: SearchResult,
        step: "PruningStep",
        shape: "Shape",
    ) -> "Mask":
        """The mask after this round if it ended now; `net` gets the weights of the smaller network."""
        from robust_tickets.models.weights import copy_state, load_weights
        from robust_tickets.tickets.basis_search import pruned_in_basis

        if small is not None:
            load_weights(net, small.plan.widen(copy_state(small.net), result.init), "round")
        return pruned_in_basis(net, self.search, result.mask, step, shape)

    def plan(self, per_epoch: int) -> SearchPlan:
        """Rounds of `search.epochs` or `search.iterations`.

        Raises InputError for a step to rewind to beyond a round, and for rounds too short to end early.
        """
        search = self.search
        steps = round_length(search, per_epoch)
        rewind = search.rewind_iterations or search.rewind_epochs * per_epoch
        if rewind >= steps:
            field = "iterations" if search.rewind_iterations else "epochs"
            raise InputError(
                f"search.rewind_{field} means step {rewind}, but a round has only {steps} steps: choose an "
                "earlier one"
            )
        make_method(search).check_length(FieldNames("search"), steps)
        return SearchPlan(steps, rewind, search.rounds, per_epoch)

    def describe(self) -> str:
        search = self.search
        words = f"imp, {search.method}, {search.rounds} x {describe_length(search)} at lr {search.lr:g}"
        words += f" or until masks lie within {search.stop_distance:g}" if search.stop_distance else ""
        words += f", then {search.after}"
        words += f" to step {search.rewind_iterations}" if search.rewind_iterations else ""
        return words + (f" to epoch {search.rewind_epochs}" if search.rewind_epochs else "")
