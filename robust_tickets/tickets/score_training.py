"""Training scores in place of weights: which weights are kept is learnt, and what they are is not.

Ramanujan et al. 2019, "What's Hidden in a Randomly Weighted Neural Network?" (arXiv 1911.13299, section 3.1):
each weight w0 stays as it is and has a score s. A network's weights, and the gradients of its scores, are

    w = w0 where |s| is among the k largest of its layer, 0 elsewhere;     dL/d|s| = w0 dL/dw

for all weights, kept or not: a pruned one comes back where its gradient calls for it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robust_tickets.base.errors import InputError
from robust_tickets.base.random_streams import score_generator
from robust_tickets.models.weights import StateDict, copy_state, copy_tensors
from robust_tickets.pruning.channel_criteria import channel_scores
from robust_tickets.pruning.compaction import LiveChannels, all_channels, channel_mask
from robust_tickets.pruning.layers import prunable_weights
from robust_tickets.pruning.mask import Mask
from robust_tickets.pruning.scores import magnitude
from robust_tickets.recipe.training_fields import Training
from robust_tickets.tickets.mask_distance import MaskConvergence
from robust_tickets.tickets.pruning_step import ChannelStep
from robust_tickets.training.optimisers import optimiser_of

_SCORE = "score/"
"""Begins the names of scores in the state."""


class ScoreTraining(MaskConvergence, ABC):
    """The scores of one network: makes their optimiser, and is the epoch hook that saves them.

    net: the network; from now on some of its weights are pruned, by the scores.
    weights: names of those that may be.
    scores: at the start, by name.
    threshold: of masks that no longer change, as `MaskConvergence` has it.
    """

    def __init__(
        self, net: nn.Module, weights: Sequence[str], scores: Mapping[str, Tensor], threshold: float
    ) -> None:
        self._full = Mask.full(net)
        super().__init__(self._full, lambda: self.mask, threshold)
        parameters = dict(net.named_parameters())
        self._net, self._weights = net, {name: parameters[name] for name in weights}
        self._drawn = {name: weight.detach().clone() for name, weight in self._weights.items()}
        like = next(iter(self._weights.values()))
        self._scores = {
            name: value.detach().to(like).clone().requires_grad_() for name, value in scores.items()
        }
        self._put_weights()

    @property
    @abstractmethod
    def mask(self) -> Mask:
        """The mask of the best scores so far."""

    @abstractmethod
    def _kept(self) -> dict[str, Tensor]:
        """Which of the weights are in place, by name."""

    @abstractmethod
    def _gradients(self, products: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """dL/d|s| by name, from the products w0 dL/dw of the weights."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it, no other parameter of the network has a gradient."""
        trained = {id(weight) for weight in self._weights.values()}
        others = [p for p in self._net.parameters() if p.requires_grad and id(p) not in trained]
        try:
            for parameter in others:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def optimiser(self, settings: Training) -> Optimizer:
        """The optimiser of the scores: a step takes their gradients, and puts weights in place after it."""
        for parameter in self._net.parameters():
            parameter.grad = None  # of a training before, which no step of the scores clears
        optimiser = optimiser_of(self._scores.values(), settings)
        optimiser.register_step_pre_hook(lambda *_: self._take_gradients())
        optimiser.register_step_post_hook(lambda *_: self._put_weights())
        return optimiser

    @property
    def init(self) -> StateDict:
        """The network's state with all of its weights as they were at first."""
        return copy_state(self._net) | copy_tensors(self._drawn)

    @torch.no_grad()
    def _take_gradients(self) -> None:
        """Give the scores their gradients, and leave the weights none."""
        products = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad * self._drawn[name]
            for name, weight in self._weights.items()
        }
        for name, gradient in self._gradients(products).items():
            self._scores[name].grad = gradient * self._scores[name].sign()
        for weight in self._weights.values():
            weight.grad = None

    @torch.no_grad()
    def _put_weights(self) -> None:
        for name, kept in self._kept().items():
            torch.mul(self._drawn[name], kept, out=self._weights[name])

    def state_dict(self) -> dict[str, Tensor]:
        """The last masks, packed, and the scores."""
        scores = {_SCORE + name: value.detach() for name, value in self._scores.items()}
        return super().state_dict() | scores

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave. Raises InputError where that is of another network."""
        super().load_state_dict({n: value for n, value in state.items() if not n.startswith(_SCORE)})
        for name, scores in self._scores.items():
            saved = state.get(_SCORE + name)
            if saved is None or saved.shape != scores.shape:
                raise InputError(f"the training state has no scores of {name}: remove it")
            with torch.no_grad():
                scores.copy_(saved)


class WeightScores(ScoreTraining):
    """A score for each weight; each layer keeps the weights of the largest.

    net, threshold: as `ScoreTraining` has them.
    scores: of the weights that may be pruned, by parameter name, shaped like them.
    counts: how many weights each of these layers keeps.
    """

    def __init__(
        self, net: nn.Module, scores: Mapping[str, Tensor], counts: Mapping[str, int], threshold: float
    ) -> None:
        self._counts = dict(counts)
        super().__init__(net, list(scores), scores, threshold)

    @property
    def mask(self) -> Mask:
        """The weights with the best scores so far; layers without scores are whole."""
        return Mask({**self._full, **self._kept()})

    def _kept(self) -> dict[str, Tensor]:
        return {name: largest(scores, self._counts[name]) for name, scores in self._scores.items()}

    def _gradients(self, products: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(products)


class ChannelScores(ScoreTraining):
    """A score for each channel; each group of them keeps those of the largest, in blocks.

    A pruned channel is computed and not read: its readers' weights are zero and have a gradient, where its
    own would have none behind a ReLU.

    net, threshold: as `ScoreTraining` has them.
    step: prunes channels, by group.
    """

    def __init__(self, net: nn.Module, step: ChannelStep, threshold: float) -> None:
        self._step, self._groups = step, step.groups
        full, weights = Mask.full(net), prunable_weights(net)
        by_group = channel_scores(self._groups, magnitude(weights, full), full)
        scores = {
            group.name: values / values.max().clamp(min=torch.finfo(values.dtype).tiny)
            for group, values in zip(self._groups, by_group, strict=True)
        }
        readers = {part.tensor for group in self._groups for part in group.readers}
        super().__init__(net, [name for name in weights if name in readers], scores, threshold)

    @property
    def mask(self) -> Mask:
        """The mask without all weights of the other channels."""
        return channel_mask(self._groups, self._live(), self._full)

    def _live(self) -> LiveChannels:
        scores = [self._scores[group.name].detach().abs().cpu().double() for group in self._groups]
        return self._step.remaining(scores, all_channels(self._groups))

    def _kept(self) -> dict[str, Tensor]:
        kept = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self._weights.items()}
        for group, live in zip(self._groups, self._live(), strict=True):
            for part in group.readers:
                dead = part.indices[~live].flatten().to(kept[part.tensor].device)
                kept[part.tensor].index_fill_(part.dim, dead, False)
        return kept

    def _gradients(self, products: Mapping[str, Tensor]) -> dict[str, Tensor]:
        gradients = {}
        for group in self._groups:
            total = torch.zeros_like(self._scores[group.name])
            for part in group.readers:
                by_index = products[part.tensor].movedim(part.dim, 0).flatten(1).sum(1)
                total += by_index[part.indices.to(by_index.device)].sum(1)
            gradients[group.name] = total
        return gradients


@torch.no_grad()
def largest(scores: Tensor, count: int) -> Tensor:
    """Bool, shaped like the scores: the `count` largest by absolute value, the later of equal ones.

    As `criteria.prune` keeps them, without a wait on a GPU.
    """
    flat = scores.abs().flatten()
    remove = flat.numel() - count
    if not remove:
        return torch.ones_like(scores, dtype=torch.bool)
    highest = flat.kthvalue(remove).values  # of those that go
    below, ties = flat < highest, flat == highest
    removed = below | (ties & (ties.cumsum(0) <= remove - below.sum()))
    return ~removed.reshape(scores.shape)


def drawn_scores(weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Scores drawn for weights of these shapes: uniform within 1 / sqrt(fan_in), as PyTorch's weights are."""
    generator, scores = score_generator(seed), {}
    for name, weight in weights.items():
        bound = 1 / math.sqrt(weight[0].numel())
        values = torch.rand(weight.shape, generator=generator) * 2 * bound - bound
        scores[name] = torch.empty_like(weight, requires_grad=False).copy_(values)
    return scores


def scores_by_magnitude(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores in proportion to the weights: sqrt(6 / fan_in) w / max|w| (Sehwag et al. 2020, equation 5)."""
    tiny = torch.finfo(torch.float32).tiny  # in place of the largest of a layer of zeros
    return {
        name: math.sqrt(6 / weight[0].numel()) * weight.detach() / weight.detach().abs().max().clamp(min=tiny)
        for name, weight in weights.items()
    }
