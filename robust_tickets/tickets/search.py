"""Iterative magnitude pruning with adversarial training: train, prune, rewind, again."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from robust_tickets.data.dataset import Dataset
from robust_tickets.pruning.mask import Mask, prunable
from robust_tickets.pruning.scores import SCORES
from robust_tickets.recipe.fields import Search
from robust_tickets.tickets.compact_net import CompactNet
from robust_tickets.tickets.connectivity import check_paths
from robust_tickets.tickets.mask_distance import MaskConvergence
from robust_tickets.tickets.pruning_step import pruning_step
from robust_tickets.tickets.untrained import mask_at_init
from robust_tickets.training.checkpoint import load_weights
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit
from robust_tickets.training.state import StateDict, copy_state


@dataclass(frozen=True)
class SearchResult:
    """What a search gives: the state that its ticket begins from, the mask, a record an epoch (round from 1).

    `warnings` is what the watchers of its trainings saw.
    """

    init: StateDict
    mask: Mask
    history: list[dict[str, Any]]
    warnings: tuple[str, ...] = ()

    @property
    def rounds(self) -> int:
        """How many rounds it took; a search that trains nothing is one."""
        return int(self.history[-1]["round"]) if self.history else 1


def find_ticket(
    net: nn.Module,
    data: Dataset,
    search: Search,
    config: TrainingConfig,
    session: Session,
    *,
    rewind: int = 0,
    earlier: SearchResult | None = None,
    each_round: Callable[[SearchResult], None] = lambda found: None,
) -> SearchResult:
    """Find a ticket of `net` as it is now (Frankle & Carbin 2019, strategy 1; Li et al. 2020, section 3.1).

    Each of `search.rounds` rounds trains the net under the mask so far and removes the share `search.ratio`
    of the weights that are left, or of the channels; where whole channels are gone, the next round trains the
    smaller net. With one round this is the one-shot pruning of Li et al. The first round trains from the
    init; every other one goes on from the state before step `rewind` of the first, at that step of the
    schedule and of the batches, with a fresh optimiser (Frankle et al. 2020, arXiv 1912.05671, section 2); 0
    is the init. With `search.after` fine-tune nothing is rewound: rounds and ticket go on from
    the trained weights (Han et al. 2015), on the schedule from its beginning. Each record has
    `mask_distances`, and a round may end by them (`Converging`). A pruning method that trains nothing prunes
    the init (`mask_at_init`). A search resumes after the rounds of `earlier`, and within the next one
    from the saved state of `session`; `each_round` is called with the result after each round. The net is
    left trained, as the last round had it. Raises InputError as `fit`, `prune` and `check_paths` do.
    """
    init = copy_state(net) if earlier is None else earlier.init
    cut = pruning_step(net, search, data.spec.shape)
    if search.images:
        data = replace(data, train=data.train.first(search.images))
    if search.pruning_method != "imp":
        mask = mask_at_init(net, data, search, config, cut, session.ledger)
        check_paths(net, mask, data.spec.shape)
        if config.compute.compact:
            cut.net(net, mask)  # a net that cannot be narrowed is refused now, as by `check`
        session.meter.note(f"density {mask.density:.1%}")
        found = SearchResult(init, mask, [])
        each_round(found)
        return found
    mask = Mask.full(net) if earlier is None else earlier.mask
    history = [] if earlier is None else list(earlier.history)
    warnings = () if earlier is None else earlier.warnings
    done = 0 if earlier is None else earlier.rounds
    rounds = search.rounds - done
    cut.check(net, mask, rounds, narrowed=rounds > 1 or config.compute.compact)
    small: CompactNet | None = None

    def left(mask: Mask) -> Mask:
        """What a round that ended now would leave."""
        if small is not None:
            load_weights(net, small.plan.whole(copy_state(small.net), init), "round")
        return cut(SCORES[search.criterion](prunable(net), mask), mask)

    for number in range(done + 1, search.rounds + 1):
        load_weights(net, init, "init")
        small = cut.net(net, mask)
        fitted = fit(
            net if small is None else small.net,
            mask if small is None else small.mask,
            data,
            replace(config, early_step=rewind) if number == 1 else replace(config, begin=rewind),
            replace(
                session,
                checkpointer=session.checkpointer.for_round(number),
                saved=session.saved if number == done + 1 else None,
                hook=MaskConvergence(mask, lambda mask=mask: left(mask), search.stop_distance),  # type: ignore[misc]
            ),
        )
        with session.ledger.phase("prune"):
            cut_mask = left(mask)
            check_paths(net, cut_mask, data.spec.shape)
        init = copy_state(net) if search.after == "fine-tune" else fitted.early or init
        if fitted.history[-1]["step"] < config.steps and search.stop_distance:
            session.meter.note(f"round {number}: the mask has formed after epoch {fitted.last_epoch}")
        history += [{"round": number, **record} for record in fitted.history]
        warnings += tuple(f"round {number}, {warning}" for warning in fitted.warnings)
        mask = cut_mask
        session.meter.note(f"round {number}/{search.rounds}  density {mask.density:.1%}")
        each_round(SearchResult(init, mask, list(history), warnings))
    return SearchResult(init, mask, history, warnings)
