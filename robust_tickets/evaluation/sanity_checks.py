"""The sanity checks of a network: whether its robust accuracy can be trusted."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robust_tickets.attacks import (
    FGSM,
    PGD,
    Attack,
    RunOptions,
    Square,
    ThreatModel,
    eval_mode,
    misclassified,
)
from robust_tickets.attacks.blocks import NO_GRADIENT, Blocks
from robust_tickets.attacks.losses import cross_entropy
from robust_tickets.attacks.network import Net
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation.sanity_report import (
    CHANCE,
    ROUGH,
    STUCK,
    SanityCheck,
    SanityReport,
    allowed,
    percent,
    share,
)

if TYPE_CHECKING:
    from robust_tickets.evaluation.evaluate import EvaluationConfig

SAMPLES = 100
"""The checks look at the first so many samples, or at all where there are fewer."""

_STEPS = 20
_RESTARTS = 3
_QUERIES = 200
_LARGE = 64 / 255  # in Linf, for photographs
_GREY = 0.5  # in Linf: digits and clothes, white on black, are told apart until all pixels can be grey
_LONG = 0.07  # in L2, as the root of the mean square over pixels: 3.9 on CIFAR; twice that for grey images
_NEARLY_NONE = 0.05  # robust accuracy that counts as "about 0" at a large eps
_NOISE = 0.10  # accuracy that noise of size eps may take
_FROM_RESTARTS = 0.10  # accuracy that a few more starts may take
_ENOUGH = 20  # samples, of which those two are a tenth
_ROUNDING = 1e-4  # by how much logits may differ from call to call, as a share of the largest
_GRADIENT = "every sample has a gradient"
_AT_CHANCE = "the network is at chance, which is no fault of the attack"
_UNSEEN = "gradient attacks cannot see what they cannot climb: believe square, not pgd"


def run_sanity_checks(
    net: Net,
    split: Split,
    config: "EvaluationConfig",
    advance: Callable[[str, Passes], None] = lambda check, passes: None,
) -> SanityReport:
    """Check a network on the first samples of a split.

    net: from images (N, C, H, W) in [0, 1] to logits (N, K).
    split: the samples; the first `SAMPLES` of them are taken.
    config: the threat model and so on.
    advance: called after each check with its name and the passes that it took.

    A network without gradients to its images fails the check of its gradients, and is not attacked.
    """
    checks = _Checks(net, split.take(torch.arange(min(SAMPLES, len(split)))), config)
    results, before = [], Passes()
    for check in checks.run():
        results.append(check)
        advance(check.name, checks.passes.minus(before))
        before = replace(checks.passes)
    return SanityReport(tuple(results), len(checks.labels), checks.passes)


def sanity_passes(samples: int) -> int:
    """The passes that the checks of a split of so many samples take if no sample breaks."""
    pgd = 2 * _STEPS + 1
    without_attack = 2 + 1 + 2  # twice for one function, once under noise, forward and backward for gradients
    each = without_attack + 4 * pgd + 3 + _RESTARTS * pgd + _QUERIES  # four radii, FGSM, restarts, Square
    return each * min(SAMPLES, samples)


class _Checks:
    """The checks of one network in their order, and the passes they took so far."""

    def __init__(self, net: Net, split: Split, config: "EvaluationConfig") -> None:
        self.net = net
        self.config = config
        self.images = to_float(split.images, config.channels_last)
        self.labels = split.labels
        self.ids = split.ids
        self.passes = Passes()
        self.logits = self._logits(self.images)
        self.right = ~misclassified(self.logits, self.labels)

    def run(self) -> Iterator[SanityCheck]:
        if len(self.labels) < _ENOUGH:
            yield SanityCheck(
                "there are enough images",
                f"{len(self.labels)} of them",
                False,
                f"of so few, two may always differ, and the checks say little: take at least {_ENOUGH}",
            )
        yield self._one_function()
        yield self._noise()
        if self._is_at_chance():
            yield self._better_than_chance()
            for check in self._of_attacks():
                yield replace(check, otherwise=_AT_CHANCE)
        else:
            yield from self._of_attacks()

    def _of_attacks(self) -> Iterator[SanityCheck]:
        try:
            yield self._gradients()
            by_eps = self._pgd_at_radii()
            yield self._larger_ball(by_eps)
            yield self._largest_ball(by_eps)
            pgd = by_eps[self.config.threat.eps]
            # with other starts than PGD above
            with_restarts = self._robust(self._pgd(self.config.threat, restarts=_RESTARTS), seed=1)
            yield self._stronger(pgd, with_restarts)
            yield self._lucky_starts(pgd, with_restarts)
            yield self._black_box(pgd, with_restarts)
        except InputError as error:
            if str(error) != NO_GRADIENT:
                raise
            yield SanityCheck(_GRADIENT, "the network gives none", False, _UNSEEN)

    def _allowed(self, share: float) -> float:
        return allowed(share, len(self.labels))

    def _logits(self, images: Tensor, size: int | None = None) -> Tensor:
        blocks = Blocks(self.net, size or self.config.batch, self.labels)
        with eval_mode(self.net):
            logits = blocks.logits(images)
        self.passes.add(Passes(blocks.forwards))
        return logits

    def _robust(self, attack: Attack, seed: int = 0) -> Tensor:
        """Which samples are right, clean and attacked, bool (N,); seed: added to the evaluation's."""
        result = attack.run(
            self.net,
            self.images,
            self.labels,
            sample_ids=self.ids,
            seed=self.config.seed + seed,
            options=RunOptions(stop_when_broken=True, block=self.config.batch),
        )
        assert result.broken is not None
        self.passes.add(Passes(result.forwards, result.backwards))
        return self.right & ~result.broken

    def _one_function(self) -> SanityCheck:
        # in reverse order and smaller blocks: this shows a network that looks at an image's neighbours too
        size = max(1, min(self.config.batch, len(self.labels)) // 2 + 1)
        first, second = self.logits, self._logits(self.images.flip(0), size).flip(0)
        # logits that are the same differ by 0, even infinite ones, as of a class that the network excludes
        difference = float(torch.where(first == second, 0, first - second).abs().max())
        changed = int((first.argmax(1) != second.argmax(1)).sum())
        scale = float(torch.where(first.isfinite(), first, 0).abs().max())
        return SanityCheck(
            "the network is deterministic",
            f"logits differ by {difference:.2g} in another order, {changed} classes change",
            difference <= _ROUNDING * max(scale, 1e-30),
            "attacks meet another network at every step: it is random (average over it, EOT, before "
            "believing them), or looks at all images of a batch",
        )

    def _is_at_chance(self) -> bool:
        """Whether the network is right no more often than a guess, or gives one class whatever the image."""
        guesses, labels = self.logits.argmax(1), self.labels
        one_class = bool((guesses == guesses[0]).all()) and bool((labels != labels[0]).any())
        return one_class or share(self.right) <= 1 / self.logits.shape[1]

    def _better_than_chance(self) -> SanityCheck:
        guesses = self.logits.argmax(1)
        most = int(guesses.bincount().max())
        return SanityCheck(
            "the network is better than chance",
            f"{percent(share(self.right))} right of {self.logits.shape[1]} classes, {most} of {len(guesses)} "
            "images in one class",
            False,
            "it has learned nothing that an attack could break, so that its robust accuracy says nothing: "
            "train it first, or look for weights that were not loaded",
        )

    def _noise(self) -> SanityCheck:
        noisy = self.config.threat.random_start(self.images, self.ids, seed=self.config.seed + 1)
        with_noise = share(~misclassified(self._logits(noisy), self.labels))
        clean = share(self.right)
        return SanityCheck(
            "random noise hardly hurts",
            f"{percent(clean)} right without, {percent(with_noise)} with uniform noise of size eps",
            clean - with_noise <= self._allowed(_NOISE),
            "noise alone breaks it, so it is not robust, or its inputs are not in [0, 1]",
        )

    def _gradients(self) -> SanityCheck:
        blocks = Blocks(self.net, self.config.batch, self.labels)
        try:
            with eval_mode(self.net):
                _, _, gradient = blocks.gradient(self.images, cross_entropy, self.labels)
        finally:
            self.passes.add(Passes(blocks.forwards, blocks.backwards))
        flat = gradient.flatten(1)
        zero = int((flat == 0).all(1).sum())
        infinite = int((~flat.isfinite()).any(1).sum())
        figure = f"{zero} all-zero, {infinite} not finite, of {len(flat)}"
        return SanityCheck(_GRADIENT, figure, zero + infinite == 0, _UNSEEN)

    def _pgd_at_radii(self) -> dict[float, Tensor]:
        """Which samples are robust under PGD, bool (N,), by eps from the smallest on."""
        threat = self.config.threat
        radii = {threat.eps / 2, threat.eps, 2 * threat.eps, _large(threat, self.images)}
        return {eps: self._robust(self._pgd(replace(threat, eps=eps))) for eps in sorted(radii)}

    def _larger_ball(self, by_eps: dict[float, Tensor]) -> SanityCheck:
        shares = [share(robust) for robust in by_eps.values()]
        times = ", ".join(f"{eps / self.config.threat.eps:.3g}" for eps in by_eps)
        return SanityCheck(
            "a larger eps breaks more",
            f"{', '.join(map(percent, shares))} robust at {times} times eps",
            all(b <= a + self._allowed(CHANCE) for a, b in pairwise(shares)),
            STUCK,
        )

    def _largest_ball(self, by_eps: dict[float, Tensor]) -> SanityCheck:
        large, robust = list(by_eps.items())[-1]
        return SanityCheck(
            f"almost no sample is robust at eps {'64/255' if large == _LARGE else f'{large:g}'}",
            f"{percent(share(robust))} robust",
            share(robust) <= self._allowed(_NEARLY_NONE),
            "no network of today is robust there: the attack misses the adversarial images that exist",
        )

    def _stronger(self, pgd: Tensor, with_restarts: Tensor) -> SanityCheck:
        fgsm = self._robust(FGSM(self.config.threat))
        shares = [share(robust) for robust in (fgsm, pgd, with_restarts, fgsm & pgd & with_restarts)]
        return SanityCheck(
            "stronger attacks break more",
            f"FGSM {percent(shares[0])}, PGD-{_STEPS} {percent(shares[1])}, {_RESTARTS} restarts "
            f"{percent(shares[2])}, worst case {percent(shares[3])}",
            all(a >= b - self._allowed(CHANCE) for a, b in pairwise(shares))
            and shares[2] - shares[3] <= self._allowed(2 * CHANCE),
            ROUGH,
        )

    def _lucky_starts(self, pgd: Tensor, with_restarts: Tensor) -> SanityCheck:
        one, several = share(pgd), share(with_restarts)
        return SanityCheck(
            "a few more starts break few more",
            f"PGD-{_STEPS} {percent(one)}, {_RESTARTS} restarts {percent(several)}",
            one - several <= self._allowed(_FROM_RESTARTS),
            "the end of an attack is a matter of luck: more restarts would break still more",
        )

    def _black_box(self, pgd: Tensor, with_restarts: Tensor) -> SanityCheck:
        square = self._robust(Square(self.config.threat, queries=_QUERIES))
        alone = share(pgd & with_restarts & ~square)
        return SanityCheck(
            "a black box is no stronger than a white box",
            f"Square ({_QUERIES} queries) {percent(share(square))}, PGD-{_STEPS} {percent(share(pgd))}; "
            f"{round(alone * len(square))} of {len(square)} broken by Square alone",
            alone <= self._allowed(2 * CHANCE),
            "random search finds what the gradient hides: the accuracies under PGD are too high",
        )

    @staticmethod
    def _pgd(threat: ThreatModel, restarts: int = 1) -> PGD:
        return PGD(threat, steps=_STEPS, rel_step=0.25, restarts=restarts)


def _large(threat: ThreatModel, images: Tensor) -> float:
    """A radius at which no network is robust, for photographs (N, 3, H, W) or grey images."""
    grey = images.shape[1] != 3
    if threat.norm == "Linf":
        return max(_GREY if grey else _LARGE, 2 * threat.eps)
    return max(_LONG * (2 if grey else 1) * sqrt(images[0].numel()), 8 * threat.eps)
