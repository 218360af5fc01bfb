"""Signs that a robust accuracy misleads: gradients that attacks cannot climb, nets that are not functions.

The checks follow Carlini et al. 2019, "On Evaluating Adversarial Robustness", section 3, and Athalye et al.
2018, "Obfuscated Gradients Give a False Sense of Security", section 3.1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_FEW = 2  # samples that no share of few samples is taken to mean anything below
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


def sanity_checks(net: Net, split: Split, how: Judging) -> Sanity:
    """Check a net (images in [0, 1] to logits) on the first samples of a split.

    A net without gradients to its images fails the check of its gradients, and is not attacked.
    """
    return _Battery(net, split.take(torch.arange(min(SAMPLES, len(split)))), how).run()


def sanity_passes(samples: int) -> int:
    """How many passes the checks of a split of so many samples take if no sample breaks."""
    pgd = 2 * _STEPS + 1
    looks = 2 + 1 + 2  # twice for determinism, once under noise, forward and backward for the gradient
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

    def run(self) -> Sanity:
        checks = [self._deterministic(), self._noise()]
        try:
            checks += [self._gradients(), *self._attacks()]
        except InputError as error:
            if str(error) != NO_GRADIENT:
                raise
            checks.append(Check(_GRADIENT, "the net gives none", False, _UNSEEN))
        return Sanity(tuple(checks), len(self.labels), self.passes)

    def _allowed(self, share: float) -> float:
        return _allowed(share, len(self.labels))

    def _logits(self, images: Tensor) -> Tensor:
        blocks = Blocks(self.net, self.how.batch, self.labels)
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

    def _deterministic(self) -> Check:
        first, second = self.logits, self._logits(self.images)
        # logits that are the same differ by 0, be they infinite: those of a class that the net excludes
        apart = float(torch.where(first == second, 0, first - second).abs().max())
        changed = int((first.argmax(1) != second.argmax(1)).sum())
        scale = float(torch.where(first.isfinite(), first, 0).abs().max())
        return Check(
            "the net is deterministic",
            f"logits differ by {apart:.2g} between two calls, {changed} classes change",
            changed == 0 and apart <= _ROUNDING * max(scale, 1e-30),
            "attacks meet another net at every step: average over its randomness (EOT) before believing them",
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

    def _attacks(self) -> Iterator[Check]:
        threat, n = self.how.threat, len(self.labels)
        large = _large(threat, self.images)
        radii = [threat.eps / 2, threat.eps, 2 * threat.eps, large]
        standing = {eps: self._stands(self._pgd(replace(threat, eps=eps))) for eps in sorted(set(radii))}
        shares = [_share(s) for s in standing.values()]
        times = ", ".join(f"{eps / threat.eps:.3g}" for eps in standing)
        radius = "64/255" if large == _LARGE else f"{large:g}"
        yield Check(
            "a larger eps breaks more",
            f"{', '.join(map(_percent, shares))} stand at {times} times eps",
            all(b <= a + self._allowed(_CHANCE) for a, b in pairwise(shares)),
            _STUCK,
        )
        yield Check(
            f"about nothing stands at eps {radius}",
            f"{_percent(shares[-1])} stand",
            shares[-1] <= self._allowed(_NEARLY_NONE),
            "no net of today is robust there: the attack does not find what is there",
        )
        pgd = standing[threat.eps]
        fgsm = self._stands(FGSM(threat))
        restarted = self._stands(self._pgd(threat, restarts=_RESTARTS), seed=1)  # starts of its own
        worst = fgsm & pgd & restarted
        shares = [_share(s) for s in (fgsm, pgd, restarted, worst)]
        yield Check(
            "stronger attacks break more",
            f"FGSM {_percent(shares[0])}, PGD-{_STEPS} {_percent(shares[1])}, {_RESTARTS} restarts "
            f"{_percent(shares[2])}, worst case {_percent(shares[3])}",
            all(a >= b - self._allowed(_CHANCE) for a, b in pairwise(shares))
            and shares[2] - shares[3] <= self._allowed(2 * _CHANCE),
            _ROUGH,
        )
        square = self._stands(Square(threat, queries=_QUERIES))
        alone = _share(pgd & restarted & ~square)
        yield Check(
            "a black box is no stronger than a white box",
            f"Square ({_QUERIES} queries) {_percent(_share(square))}, PGD-{_STEPS} {_percent(_share(pgd))}; "
            f"{round(alone * n)} of {n} fall to Square alone",
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
