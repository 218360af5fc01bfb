"""HYDRA: trains the network, then scores that decide which of its weights are kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.schema import Count, CountOrZero, Positive
from robust_tickets.tickets.methods.base import (
    SearchPlan,
    SearchResult,
    SearchTask,
    describe_length,
    records_with,
    round_length,
)
from robust_tickets.tickets.methods.edge_popup import ScorePruning, kept_counts

if TYPE_CHECKING:
    from robust_tickets.recipe.training_fields import Search
    from robust_tickets.tickets.score_training import ScoreTraining


@dataclass(frozen=True)
class HydraSettings:
    """The training of the scores, after that of the weights; all else is as the search has it."""

    epochs: Count = 20
    """epochs"""
    iterations: CountOrZero = 0
    """optimiser steps, exactly, instead of epochs; 0: go by epochs"""
    lr: Positive = 0.1
    """highest learning rate of its schedule"""


class Hydra(ScorePruning):
    """Trains all weights, then a score for each with the weights as they are, and keeps the best in each
    layer.

    Sehwag et al. 2020, "HYDRA: Pruning Adversarially Robust Neural Networks" (arXiv 2002.10509, section 3),
    with the training method's loss in both. A score begins at sqrt(6 / fan_in) w / max|w| of its layer, so
    that the largest weights are kept at first (their equation 5). The ticket starts from the trained weights:
    its training is the paper's fine-tuning. Biases, gamma and beta of BatchNorms do not move with the scores,
    where the paper's code lets those of BatchNorms go on. With `search.granularity channel` a channel has one
    score, which begins as the mean magnitude of its filters.
    """

    Settings = HydraSettings
    settings: HydraSettings
    unused: ClassVar[Mapping[str, str]] = {
        **ScorePruning.unused,
        "rounds": "which has two: one of the weights, one of the scores",
        "after": "whose tickets start from the trained weights",
    }

    @property
    def rounds(self) -> int:
        return 2

    @property
    def keeps_trained_weights(self) -> bool:
        return True

    def find(self, task: SearchTask) -> SearchResult:
        """Train weights, then scores; the network is left with the kept weights."""
        from robust_tickets.data.batches import steps_per_epoch
        from robust_tickets.models.weights import copy_state, load_weights
        from robust_tickets.pruning.mask import Mask
        from robust_tickets.training.loop import fit

        net, session, search = task.net, task.session, self.scores_search
        make_scores, result = self._scores(task), task.earlier
        if result is None:
            first = replace(session, checkpointer=session.checkpointer.for_round(1))
            trained = fit(net, None, task.data, task.config, first)
            result = SearchResult(copy_state(net), Mask.full(net), *records_with(None, trained))
            task.save(result)
            session = replace(session, saved=None)
        else:
            load_weights(net, result.init, "init")
        steps = round_length(search, steps_per_epoch(len(task.data.train), search.batch))
        config = replace(task.config, settings=search, steps=steps)
        return self.train_scores(replace(task, config=config, session=session), make_scores(), result)

    def _scores(self, task: SearchTask) -> "Callable[[], ScoreTraining]":
        """Makes the scores of the trained weights. Raises InputError now where nothing can be pruned."""
        from robust_tickets.pruning.layers import prunable_weights
        from robust_tickets.pruning.mask import Mask
        from robust_tickets.tickets.pruning_step import ChannelStep
        from robust_tickets.tickets.score_training import ChannelScores, WeightScores, scores_by_magnitude

        net, threshold = task.net, self.search.stop_distance
        if self.search.granularity == "channel":
            step = ChannelStep(net, replace(self.search, scope="layer"), task.data.spec.shape)
            step.check(net, Mask.full(net), 1, compact=task.config.compute.compact)
            return lambda: ChannelScores(net, step, threshold)
        counts = kept_counts(self.search, task)
        weights = {name: weight for name, weight in prunable_weights(net).items() if name in counts}
        return lambda: WeightScores(net, scores_by_magnitude(weights), counts, threshold)

    @property
    def scores_search(self) -> "Search":
        """The search with the length and the rate of the scores' training."""
        settings = self.settings
        return replace(self.search, epochs=settings.epochs, iterations=settings.iterations, lr=settings.lr)

    def plan(self, per_epoch: int) -> SearchPlan:
        """A training of the weights, and one of the scores. Raises InputError where one is too short."""
        steps = self.search.iterations or self.search.epochs * per_epoch
        last = round_length(self.scores_search, per_epoch)
        for length, training in ((steps, self.search), (last, self.scores_search)):
            make_method(training).check_length(FieldNames("search"), length)
        return SearchPlan(steps, rewind=0, rounds=2, per_epoch=per_epoch, last_steps=last)

    def describe(self) -> str:
        lengths = [describe_length(each) for each in (self.search, self.scores_search)]
        rates = f"lr {self.search.lr:g} and {self.settings.lr:g}"
        return f"hydra, {self.search.method}, {lengths[0]} of weights and {lengths[1]} of scores at {rates}"
