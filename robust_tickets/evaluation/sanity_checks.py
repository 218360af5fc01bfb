"""The battery of sanity checks that a net is put through."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from attacks import FGSM, PGD, Attack, Bookmark, Square, ThreatModel, inspected, misclassified
from attacks.blocks import NO_GRADIENT, Blocks, Net
from attacks.bookmark import State
from attacks.losses import cross_entropy
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation.evaluate import EvaluationConfig
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

SAMPLES = 100
"""How many samples the checks look at, the first ones; fewer where there are fewer."""

_STEPS = 20
_RESTARTS = 3
_QUERIES = 200
_LARGE = 64 / 255  # in Linf, for photographs
_GREY = 0.5  # in Linf: digits and clothes, white on black, are told apart until all pixels can be grey
_LONG = 0.07  # in L2, as the root of the mean square over pixels: 3.9 on CIFAR; twice that for grey images
_NEARLY_NONE = 0.05  # robust accuracy that counts as "about 0" at a large eps
_NOISE = 0.10  # accuracy that noise of size eps may take
_LUCK = 0.10  # accuracy that a few more starts may take
_ENOUGH = 20  # samples, of which those two are a tenth
_ROUNDING = 1e-4  # by how much logits may differ from call to call, as a share of the largest
_GRADIENT = "every sample has a gradient"
_UNSEEN = "gradient attacks cannot see what they cannot climb: believe square, not pgd"


def sanity_checks(
    net: Net,
    split: Split,
    how: EvaluationConfig,
    advance: Callable[[str, Passes], None] = lambda said, passes: None,
    mark: Bookmark | None = None,
) -> SanityReport:
    """Check a net (images in [0, 1] to logits) on the first samples of a split.

    A net without gradients to its images fails the check of its gradients, and is not attacked. `advance` is
    told of each check that is done, and of the passes that it took. mark: keeps where the checks stand, or
    goes on from where they stood.
    """
    mark = mark or Bookmark()
    battery = _Battery(net, split.take(torch.arange(min(SAMPLES, len(split)))), how, mark)
    checks, before = [], Passes()
    with mark.level(battery.state) as kept:
        if kept is not None:
            battery.take(kept)
        for check in battery.run():
            checks.append(check)
            now = replace(battery.passes)
            advance(check.name, now.minus(before))
            before = now
    return SanityReport(tuple(checks), len(battery.labels), battery.passes)


def sanity_passes(samples: int) -> int:
    """How many passes the checks of a split of so many samples take if no sample breaks."""
    pgd = 2 * _STEPS + 1
    looks = 2 + 1 + 2  # twice for one function, once under noise, forward and backward for the gradient
    each = looks + 4 * pgd + 3 + _RESTARTS * pgd + _QUERIES  # four radii, FGSM, restarts, Square
    return each * min(SAMPLES, samples)


class _Battery:
    def __init__(self, net: Net, split: Split, how: EvaluationConfig, mark: Bookmark) -> None:
        self.net = net
        self.how = how
        self.mark = mark
        self._known: list[tuple[Tensor, Passes]] = []  # what stood under each attack, and what that took
        self._attacks = 0  # how many of them were asked for
        self.images = to_float(split.images, how.channels_last)
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
                f"of so few, two may always fall out of line, and the checks say little: take {_ENOUGH}",
            )
        yield self._one_function()
        yield self._noise()
        try:
            yield self._gradients()
            standing = self._at_radii()
            yield self._larger_ball(standing)
            yield self._everything_falls(standing)
            pgd = standing[self.how.threat.eps]
            # starts of its own
            restarted = self._stands(self._pgd(self.how.threat, restarts=_RESTARTS), seed=1)
            yield self._stronger(pgd, restarted)
            yield self._lucky_starts(pgd, restarted)
            yield self._black_box(pgd, restarted)
        except InputError as error:
            if str(error) != NO_GRADIENT:
                raise
            yield SanityCheck(_GRADIENT, "the net gives none", False, _UNSEEN)

    def _allowed(self, share: float) -> float:
        return allowed(share, len(self.labels))

    def _logits(self, images: Tensor, size: int | None = None) -> Tensor:
        blocks = Blocks(self.net, size or self.how.batch, self.labels)
        with inspected(self.net):
            logits = blocks.logits(images)
        self.passes.add(Passes(blocks.forwards))
        return logits

    def _stands(self, attack: Attack, seed: int = 0) -> Tensor:
        """Which samples are right, clean and attacked, bool (N,); seed: added to the evaluation's.

        As the attacks come in one order, those of a battery that was stopped are known by their number.
        """
        if self._attacks == len(self._known):
            self._known.append(self._attacked(attack, seed))
        standing, passes = self._known[self._attacks]
        self._attacks += 1
        self.passes.add(passes)
        return standing

    def _attacked(self, attack: Attack, seed: int) -> tuple[Tensor, Passes]:
        result = attack.run(
            self.net,
            self.images,
            self.labels,
            sample_ids=self.ids,
            seed=self.how.seed + seed,
            stop_when_broken=True,
            block=self.how.batch,
            mark=self.mark,
        )
        assert result.broken is not None
        return self.right & ~result.broken, Passes(result.forwards, result.backwards)

    def state(self) -> State:
        """What stood under the attacks so far."""
        none = torch.empty(0, len(self.labels), dtype=torch.bool, device=self.labels.device)
        return {
            "standing": torch.cat([none, *(standing[None] for standing, _ in self._known)]),
            "passes": [[passes.forward, passes.input_backward] for _, passes in self._known],
        }

    def take(self, state: State) -> None:
        """Go on from a state."""
        passes = (Passes(*both) for both in state["passes"])
        self._known = list(zip(state["standing"], passes, strict=True))

    def _one_function(self) -> SanityCheck:
        # the other way round and in smaller blocks: a net that looks at an image's neighbours shows too
        size = max(1, min(self.how.batch, len(self.labels)) // 2 + 1)
        first, second = self.logits, self._logits(self.images.flip(0), size).flip(0)
        # logits that are the same differ by 0, be they infinite: those of a class that the net excludes
        apart = float(torch.where(first == second, 0, first - second).abs().max())
        changed = int((first.argmax(1) != second.argmax(1)).sum())
        scale = float(torch.where(first.isfinite(), first, 0).abs().max())
        return SanityCheck(
            "the net is deterministic",
            f"logits differ by {apart:.2g} in another order, {changed} classes change",
            apart <= _ROUNDING * max(scale, 1e-30),
            "attacks meet another net at every step, as it is random (average over it, EOT, before believing "
            "them) or looks at all images of a batch",
        )

    def _noise(self) -> SanityCheck:
        noisy = self.how.threat.random_start(self.images, self.ids, seed=self.how.seed + 1)
        there = float((~misclassified(self._logits(noisy), self.labels)).double().mean())
        clean = float(self.right.double().mean())
        return SanityCheck(
            "random noise hardly hurts",
            f"{percent(clean)} right without, {percent(there)} with uniform noise of size eps",
            clean - there <= self._allowed(_NOISE),
            "noise alone breaks it, so it is not robust, or its inputs are not in [0, 1]",
        )

    def _gradients(self) -> SanityCheck:
        blocks = Blocks(self.net, self.how.batch, self.labels)
        try:
            with inspected(self.net):
                _, _, gradient = blocks.gradient(self.images, cross_entropy, self.labels)
        finally:
            self.passes.add(Passes(blocks.forwards, blocks.backwards))
        flat = gradient.flatten(1)
        zero = int((flat == 0).all(1).sum())
        infinite = int((~flat.isfinite()).any(1).sum())
        figure = f"{zero} all-zero, {infinite} not finite, of {len(flat)}"
        return SanityCheck(_GRADIENT, figure, zero + infinite == 0, _UNSEEN)

    def _at_radii(self) -> dict[float, Tensor]:
        """Which samples stand under PGD, bool (N,), by eps from the smallest on."""
        threat = self.how.threat
        radii = {threat.eps / 2, threat.eps, 2 * threat.eps, _large(threat, self.images)}
        return {eps: self._stands(self._pgd(replace(threat, eps=eps))) for eps in sorted(radii)}

    def _larger_ball(self, standing: dict[float, Tensor]) -> SanityCheck:
        shares = [share(stands) for stands in standing.values()]
        times = ", ".join(f"{eps / self.how.threat.eps:.3g}" for eps in standing)
        return SanityCheck(
            "a larger eps breaks more",
            f"{', '.join(map(percent, shares))} stand at {times} times eps",
            all(b <= a + self._allowed(CHANCE) for a, b in pairwise(shares)),
            STUCK,
        )

    def _everything_falls(self, standing: dict[float, Tensor]) -> SanityCheck:
        large, stands = list(standing.items())[-1]
        return SanityCheck(
            f"about nothing stands at eps {'64/255' if large == _LARGE else f'{large:g}'}",
            f"{percent(share(stands))} stand",
            share(stands) <= self._allowed(_NEARLY_NONE),
            "no net of today is robust there: the attack does not find what is there",
        )

    def _stronger(self, pgd: Tensor, restarted: Tensor) -> SanityCheck:
        fgsm = self._stands(FGSM(self.how.threat))
        shares = [share(stands) for stands in (fgsm, pgd, restarted, fgsm & pgd & restarted)]
        return SanityCheck(
            "stronger attacks break more",
            f"FGSM {percent(shares[0])}, PGD-{_STEPS} {percent(shares[1])}, {_RESTARTS} restarts "
            f"{percent(shares[2])}, worst case {percent(shares[3])}",
            all(a >= b - self._allowed(CHANCE) for a, b in pairwise(shares))
            and shares[2] - shares[3] <= self._allowed(2 * CHANCE),
            ROUGH,
        )

    def _lucky_starts(self, pgd: Tensor, restarted: Tensor) -> SanityCheck:
        one, several = share(pgd), share(restarted)
        return SanityCheck(
            "a few more starts break few more",
            f"PGD-{_STEPS} {percent(one)}, {_RESTARTS} restarts {percent(several)}",
            one - several <= self._allowed(_LUCK),
            "where an attack ends is a matter of luck: more restarts would break more still",
        )

    def _black_box(self, pgd: Tensor, restarted: Tensor) -> SanityCheck:
        square = self._stands(Square(self.how.threat, queries=_QUERIES))
        alone = share(pgd & restarted & ~square)
        return SanityCheck(
            "a black box is no stronger than a white box",
            f"Square ({_QUERIES} queries) {percent(share(square))}, PGD-{_STEPS} {percent(share(pgd))}; "
            f"{round(alone * len(square))} of {len(square)} fall to Square alone",
            alone <= self._allowed(2 * CHANCE),
            "the gradient hides what random search finds: the figures under PGD are too high",
        )

    @staticmethod
    def _pgd(threat: ThreatModel, restarts: int = 1) -> PGD:
        return PGD(threat, steps=_STEPS, rel_step=0.25, restarts=restarts)


def _large(threat: ThreatModel, images: Tensor) -> float:
    """A radius at which no net stands: that of photographs (N, 3, H, W), or of grey images."""
    grey = images.shape[1] != 3
    if threat.norm == "Linf":
        return max(_GREY if grey else _LARGE, 2 * threat.eps)
    return max(_LONG * (2 if grey else 1) * sqrt(images[0].numel()), 8 * threat.eps)
