"""Signs that a robust accuracy misleads: gradients that attacks cannot climb, nets that are not functions.

The checks follow Carlini et al. 2019, "On Evaluating Adversarial Robustness", section 3, and Athalye et al.
2018, "Obfuscated Gradients Give a False Sense of Security", section 3.1.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from attacks import FGSM, PGD, Attack, Square, ThreatModel, inspected, misclassified
from attacks.blocks import NO_GRADIENT, Blocks, InputError, Net
from attacks.losses import cross_entropy
from robust_tickets.data import Split, floats
from robust_tickets.evaluation.robustness import Judging
from robust_tickets.evaluation.rows import Row
from robust_tickets.ledger import Passes

SAMPLES = 100
"""How many samples the checks look at, the first ones; fewer where there are fewer."""

_STEPS = 20
_RESTARTS = 3
_QUERIES = 200
_LARGE = 64 / 255  # in Linf, for photographs
_GREY = 0.5  # in Linf: digits and clothes, white on black, are told apart until all pixels can be grey
_LONG = 0.07  # in L2, as the root of the mean square over pixels: 3.9 on CIFAR; twice that for grey images
_CHANCE = 0.02  # of all samples: what two honest attacks may differ by in the wrong direction
_NEARLY_NONE = 0.05  # robust accuracy that counts as "about 0" at a large eps
_NOISE = 0.10  # accuracy that noise of size eps may take
_LUCK = 0.10  # accuracy that a few more starts may take
_FEW = 2  # samples that no share of few samples is taken to mean anything below
_ENOUGH = 20  # samples, of which those two are a tenth
_ROUNDING = 1e-4  # by how much logits may differ from call to call, as a share of the largest
_GRADIENT = "every sample has a gradient"
_ROUGH = "one step finds what many do not: the loss surface is rough, or the gradient is masked"
_UNSEEN = "gradient attacks cannot see what they cannot climb: believe square, not pgd"
_STUCK = "an attack that gets weaker in a larger ball is stuck: the gradient misleads it"


@dataclass(frozen=True)
class Check:
    """One check: its name, what was measured, whether that is as it should be, and why it matters if not."""

    name: str
    figure: str
    passed: bool
    otherwise: str


@dataclass(frozen=True)
class Sanity:
    """All checks of one net, on how many samples, and the passes they took."""

    checks: tuple[Check, ...]
    samples: int
    passes: Passes

    @property
    def warnings(self) -> list[str]:
        """The checks that did not pass, in words."""
        return [f"{c.name}: {c.figure}; {c.otherwise}" for c in self.checks if not c.passed]

    def also(self, checks: Iterable[Check]) -> "Sanity":
        """With more checks, in place of those of the same name."""
        whole = {check.name: check for check in (*self.checks, *checks)}
        return replace(self, checks=tuple(whole.values()))

    def __str__(self) -> str:
        """A line a check, and what a warning means."""
        lines = []
        for check in self.checks:
            lines.append(f"{'pass' if check.passed else 'WARN'}  {check.name}: {check.figure}")
            if not check.passed:
                lines.append(f"      {check.otherwise}")
        return "\n".join(lines)


def sanity_checks(
    net: Net, split: Split, how: Judging, advance: Callable[[str, Passes], None] = lambda said, passes: None
) -> Sanity:
    """Check a net (images in [0, 1] to logits) on the first samples of a split.

    A net without gradients to its images fails the check of its gradients, and is not attacked. `advance` is
    told of each check that is done, and of the passes that it took.
    """
    battery = _Battery(net, split.take(torch.arange(min(SAMPLES, len(split)))), how)
    checks, before = [], Passes()
    for check in battery.run():
        checks.append(check)
        now = replace(battery.passes)
        advance(check.name, now.minus(before))
        before = now
    return Sanity(tuple(checks), len(battery.labels), battery.passes)


def sanity_passes(samples: int) -> int:
    """How many passes the checks of a split of so many samples take if no sample breaks."""
    pgd = 2 * _STEPS + 1
    looks = 2 + 1 + 2  # twice for one function, once under noise, forward and backward for the gradient
    each = looks + 4 * pgd + 3 + _RESTARTS * pgd + _QUERIES  # four radii, FGSM, restarts, Square
    return each * min(SAMPLES, samples)


def order_of_attacks(rows: Sequence[Row]) -> Iterator[Check]:
    """FGSM against attacks of many steps on all samples, where both were run."""
    weak = next((row for row in rows if row.attack == "fgsm"), None)
    strong = [row.accuracy for row in rows if _is_strong(row)]
    if weak is not None and strong:
        n = len(weak.standing)
        yield Check(
            "FGSM is no stronger than PGD",
            f"FGSM {_percent(weak.accuracy)}, PGD {_percent(min(strong))}, of {n}",
            weak.accuracy >= min(strong) - _allowed(_CHANCE / 4, n),
            _ROUGH,
        )


def _is_strong(row: Row) -> bool:
    """Whether an attack climbs far enough to be held against one step: PGD across the ball, or APGD."""
    if row.attack.startswith(("apgd", "autoattack")):
        return True
    settings = dict(word.split("=", 1) for word in row.settings.split() if "=" in word)
    if not row.attack.startswith("pgd") or not {"steps", "rel_step"} <= settings.keys():
        return False
    return int(settings["steps"]) >= 5 and int(settings["steps"]) * float(settings["rel_step"]) >= 2


def order_of_eps(worst: Mapping[str, float], samples: int) -> Iterator[Check]:
    """Robust accuracies of so many samples, fractions, from the smallest eps to the largest."""
    if len(worst) > 1:
        shares = list(worst.values())
        yield Check(
            "robust accuracy falls as eps grows",
            ", ".join(f"{_percent(share)} at {eps}" for eps, share in worst.items()),
            all(b <= a + _allowed(_CHANCE / 4, samples) for a, b in pairwise(shares)),
            _STUCK,
        )


class _Battery:
    def __init__(self, net: Net, split: Split, how: Judging) -> None:
        self.net = net
        self.how = how
        self.images = floats(split.images, how.channels_last)
        self.labels = split.labels
        self.ids = split.ids
        self.passes = Passes()
        self.logits = self._logits(self.images)
        self.right = ~misclassified(self.logits, self.labels)

    def run(self) -> Iterator[Check]:
        if len(self.labels) < _ENOUGH:
            yield Check(
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
            yield Check(_GRADIENT, "the net gives none", False, _UNSEEN)

    def _allowed(self, share: float) -> float:
        return _allowed(share, len(self.labels))

    def _logits(self, images: Tensor, size: int | None = None) -> Tensor:
        blocks = Blocks(self.net, size or self.how.batch, self.labels)
        with inspected(self.net):
            logits = blocks.logits(images)
        self.passes.add(Passes(blocks.forwards))
        return logits

    def _stands(self, attack: Attack, seed: int = 0) -> Tensor:
        """Which samples are right, clean and attacked, bool (N,); seed: added to the evaluation's."""
        result = attack.run(
            self.net,
            self.images,
            self.labels,
            sample_ids=self.ids,
            seed=self.how.seed + seed,
            stop_when_broken=True,
            block=self.how.batch,
        )
        assert result.broken is not None
        self.passes.add(Passes(result.forwards, result.backwards))
        return self.right & ~result.broken

    def _one_function(self) -> Check:
        # the other way round and in smaller blocks: a net that looks at an image's neighbours shows too
        size = max(1, min(self.how.batch, len(self.labels)) // 2 + 1)
        first, second = self.logits, self._logits(self.images.flip(0), size).flip(0)
        # logits that are the same differ by 0, be they infinite: those of a class that the net excludes
        apart = float(torch.where(first == second, 0, first - second).abs().max())
        changed = int((first.argmax(1) != second.argmax(1)).sum())
        scale = float(torch.where(first.isfinite(), first, 0).abs().max())
        return Check(
            "the net is deterministic",
            f"logits differ by {apart:.2g} in another order, {changed} classes change",
            apart <= _ROUNDING * max(scale, 1e-30),
            "attacks meet another net at every step, as it is random (average over it, EOT, before believing "
            "them) or looks at all images of a batch",
        )

    def _noise(self) -> Check:
        noisy = self.how.threat.random_start(self.images, self.ids, seed=self.how.seed + 1)
        there = float((~misclassified(self._logits(noisy), self.labels)).double().mean())
        clean = float(self.right.double().mean())
        return Check(
            "random noise hardly hurts",
            f"{_percent(clean)} right without, {_percent(there)} with uniform noise of size eps",
            clean - there <= self._allowed(_NOISE),
            "noise alone breaks it, so it is not robust, or its inputs are not in [0, 1]",
        )

    def _gradients(self) -> Check:
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
        return Check(_GRADIENT, figure, zero + infinite == 0, _UNSEEN)

    def _at_radii(self) -> dict[float, Tensor]:
        """Which samples stand under PGD, bool (N,), by eps from the smallest on."""
        threat = self.how.threat
        radii = {threat.eps / 2, threat.eps, 2 * threat.eps, _large(threat, self.images)}
        return {eps: self._stands(self._pgd(replace(threat, eps=eps))) for eps in sorted(radii)}

    def _larger_ball(self, standing: dict[float, Tensor]) -> Check:
        shares = [_share(stands) for stands in standing.values()]
        times = ", ".join(f"{eps / self.how.threat.eps:.3g}" for eps in standing)
        return Check(
            "a larger eps breaks more",
            f"{', '.join(map(_percent, shares))} stand at {times} times eps",
            all(b <= a + self._allowed(_CHANCE) for a, b in pairwise(shares)),
            _STUCK,
        )

    def _everything_falls(self, standing: dict[float, Tensor]) -> Check:
        large, stands = list(standing.items())[-1]
        return Check(
            f"about nothing stands at eps {'64/255' if large == _LARGE else f'{large:g}'}",
            f"{_percent(_share(stands))} stand",
            _share(stands) <= self._allowed(_NEARLY_NONE),
            "no net of today is robust there: the attack does not find what is there",
        )

    def _stronger(self, pgd: Tensor, restarted: Tensor) -> Check:
        fgsm = self._stands(FGSM(self.how.threat))
        shares = [_share(stands) for stands in (fgsm, pgd, restarted, fgsm & pgd & restarted)]
        return Check(
            "stronger attacks break more",
            f"FGSM {_percent(shares[0])}, PGD-{_STEPS} {_percent(shares[1])}, {_RESTARTS} restarts "
            f"{_percent(shares[2])}, worst case {_percent(shares[3])}",
            all(a >= b - self._allowed(_CHANCE) for a, b in pairwise(shares))
            and shares[2] - shares[3] <= self._allowed(2 * _CHANCE),
            _ROUGH,
        )

    def _lucky_starts(self, pgd: Tensor, restarted: Tensor) -> Check:
        one, several = _share(pgd), _share(restarted)
        return Check(
            "a few more starts break few more",
            f"PGD-{_STEPS} {_percent(one)}, {_RESTARTS} restarts {_percent(several)}",
            one - several <= self._allowed(_LUCK),
            "where an attack ends is a matter of luck: more restarts would break more still",
        )

    def _black_box(self, pgd: Tensor, restarted: Tensor) -> Check:
        square = self._stands(Square(self.how.threat, queries=_QUERIES))
        alone = _share(pgd & restarted & ~square)
        return Check(
            "a black box is no stronger than a white box",
            f"Square ({_QUERIES} queries) {_percent(_share(square))}, PGD-{_STEPS} {_percent(_share(pgd))}; "
            f"{round(alone * len(square))} of {len(square)} fall to Square alone",
            alone <= self._allowed(2 * _CHANCE),
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


def _allowed(share: float, samples: int) -> float:
    """A share that chance may make, of so many samples at least two."""
    return max(share, _FEW / samples)


def _share(which: Tensor) -> float:
    return float(which.double().mean())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
