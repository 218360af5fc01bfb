"""Edge-popup: finds a sub-network that is right without its weights being trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.field_names import FieldNames
from robust_tickets.recipe.methods import make_method
from robust_tickets.recipe.schema import NotNegative
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
    from robust_tickets.recipe.training_fields import Search
    from robust_tickets.tickets.score_training import ScoreTraining


class ScorePruning(PruningByTraining):
    """A method that trains scores, which say which weights are kept."""

    unused: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("rounds", "rewind_iterations", "rewind_epochs"), "which has one round"),
        "after": "whose weights are not trained",
        "awp": "whose weights are not trained",
        **dict.fromkeys(("basis", "basis_axes"), "which prunes weights"),
        "criterion": "which learns its scores",
        "scope": "which keeps the same share of each layer",
    }

    def train_scores(
        self, task: SearchTask, training: "ScoreTraining", earlier: SearchResult | None = None
    ) -> SearchResult:
        """Train the scores of the network as the task's settings say; all else in it stays as it is.

        earlier: what the search gave before; the scores are the round after it.

        Raises InputError where the sub-network has no path from the image to the logits.
        """
        from robust_tickets.training.loop import fit

        number = 1 if earlier is None else earlier.rounds + 1
        session = replace(
            task.session,
            checkpointer=task.session.checkpointer.for_round(number),
            hook=training,
            optimiser=training.optimiser,
        )
        with training.alone():
            trained = fit(task.net, None, task.data, task.config, session)
        with session.ledger.phase("prune"):
            mask = training.mask
        if trained.history[-1]["step"] < task.config.steps and self.search.stop_distance:
            session.meter.note(f"the mask has converged after epoch {trained.last_epoch}")
        session.meter.note(f"density {mask.density:.1%}")
        result = SearchResult(training.init, mask, *records_with(earlier, trained))
        self.end_round(task, task.net, result)
        return result

    def check(self) -> None:
        super().check()
        if self.search.overfitting == "restore-best":
            raise InputError(
                "search.overfitting restore-best goes back to weights, and search.pruning_method "
                f"{self.search.pruning_method} trains scores: choose warn or pgd"
            )
        if self.search.optimiser == "muon":
            raise InputError(
                "search.optimiser muon orthogonalises the steps of weights, and search.pruning_method "
                f"{self.search.pruning_method} trains scores: choose sgd or adam"
            )


@dataclass(frozen=True)
class EdgePopupSettings:
    """The training of the scores; all else is as the search has it."""

    lr: NotNegative = 0.0
    """highest learning rate of its schedule; 0: search.lr"""


class EdgePopup(ScorePruning):
    """Trains a score for each weight and keeps the weights of the best in each layer, as they were drawn.

    Ramanujan et al. 2019 (arXiv 1911.13299), with the training method's loss in place of the clean one, as
    Fu et al. 2021, "Drawing Robust Scratch Tickets" (arXiv 2110.14068, equation 2), have it: attack, loss,
    optimiser and schedule are those of `[search]`, and train the scores. Biases, gamma and beta of
    BatchNorms stay as they are, its running statistics move. The ticket is that of the last epoch; its init
    has the weights as they were drawn, and the statistics. `model.init signed-constant` is the papers'.
    """

    Settings = EdgePopupSettings
    settings: EdgePopupSettings

    def find(self, task: SearchTask) -> SearchResult:
        """Train the scores; the network is left with the sub-network's weights."""
        from robust_tickets.pruning.layers import prunable_weights
        from robust_tickets.tickets.score_training import WeightScores, drawn_scores

        counts = kept_counts(self.search, task)
        weights = {name: w for name, w in prunable_weights(task.net).items() if name in counts}
        scores = drawn_scores(weights, task.config.seed)
        training = WeightScores(task.net, scores, counts, self.search.stop_distance)
        config = replace(task.config, settings=replace(self.search, lr=self.lr))
        return self.train_scores(replace(task, config=config), training)

    @property
    def lr(self) -> float:
        """The highest learning rate of the scores."""
        return self.settings.lr or self.search.lr

    def plan(self, per_epoch: int) -> SearchPlan:
        """One round of `search.epochs` or `search.iterations`. Raises InputError where it is too short."""
        steps = round_length(self.search, per_epoch)
        make_method(self.search).check_length(FieldNames("search"), steps)
        return SearchPlan(steps, rewind=0, rounds=1, per_epoch=per_epoch)

    def check(self) -> None:
        super().check()
        if self.search.granularity == "channel":
            raise InputError(
                "search.pruning_method edge_popup has a score for each weight, and search.granularity "
                "channel prunes whole channels: leave one out, or choose hydra"
            )

    def describe(self) -> str:
        search = self.search
        return f"edge_popup, {search.method}, {describe_length(search)} at lr {self.lr:g}"


def kept_counts(search: "Search", task: SearchTask) -> dict[str, int]:
    """How many weights each layer keeps, by parameter name; layers that are not pruned are left out.

    n - round(ratio n) of n. Raises InputError where that is none.
    """
    from robust_tickets.pruning.criteria import check_rounds, ignored_layers
    from robust_tickets.pruning.layers import layer_roles
    from robust_tickets.pruning.mask import Mask

    mask, roles = Mask.full(task.net), layer_roles(task.net, task.data.spec.shape)
    check_rounds(replace(search, scope="layer"), mask, roles, rounds=1)
    ignored = ignored_layers(search, mask, roles)
    sizes = {name: entries.numel() for name, entries in mask.items() if name not in ignored}
    return {name: size - round(search.ratio * size) for name, size in sizes.items()}
