"""Networks that are switched at random: how often a network drawn at random is right under attack.

Fu et al. 2021, "Drawing Robust Scratch Tickets" (arXiv 2110.14068), draw one of several sub-networks for each
image. They report the accuracy on images made on another one. An adversary who knows all of them attacks the
average instead, the expectation over the draw (EOT, Athalye et al. 2018).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor, nn

from robust_tickets.attacks import Attack, Ensemble, RunOptions, eval_mode, misclassified
from robust_tickets.attacks.blocks import Blocks
from robust_tickets.base.errors import InputError
from robust_tickets.data.batches import to_float
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation.attack_names import build_attack, expand_attacks
from robust_tickets.evaluation.evaluate import EvaluationConfig

OWN, OTHER, EXPECTED, WORST = (
    "the network drawn",
    "another network",
    "the average (EOT)",
    "whichever is worst",
)
"""What the adversary attacks: knowing the draw, a wrong guess of it, all networks, and the best of these."""


class ExpectedNet(nn.Module):
    """The average of networks: logits are the logarithms of their mean probabilities.

    nets: from images (N, C, H, W) to logits (N, K).
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities (N, K)."""
        logs = torch.stack([net(images).log_softmax(1) for net in self.nets])
        return logs.logsumexp(0) - math.log(len(self.nets))


@dataclass(frozen=True)
class SwitchRow:
    """The accuracy of a network drawn at random, each as likely as the others.

    attacked: what the adversary attacks; "" on clean images.
    accuracy: the mean over draws and images, a fraction.
    low, high: its 95 % interval, by the normal law over images; Wilson's where all networks are right on
        every image, or on none.
    """

    attacked: str
    accuracy: float
    low: float
    high: float


def switch_rows(
    nets: Sequence[nn.Module],
    split: Split,
    attacks: Sequence[str],
    config: EvaluationConfig,
    log: Callable[[str], None] = lambda line: None,
) -> list[SwitchRow]:
    """Attack networks that are switched at random, and their average.

    Attacks run to their end. Of the images that they make of a sample, and the clean one, the one counts on
    which the fewest networks are right: the adversary does not know the draw. In the row `OWN` it does, and
    any of the images that breaks the network drawn counts.

    nets: from images (N, C, H, W) to logits (N, K), at least two.
    attacks: names of attacks and of sets of them; the members of an ensemble count as attacks of their own.
    log: takes a line for each network that is attacked.

    Rows: clean, then `OWN`, `OTHER`, `EXPECTED` and `WORST`. Raises InputError for an unknown attack before
    any is run, and where none attacks.
    """
    members = [member for name in expand_attacks(attacks) for member in _members(name, config)]
    if not members:
        raise InputError("switch needs an attack, as clean images say nothing of robustness: give pgd-20")
    images = to_float(split.images, config.channels_last)
    clean = _right(nets, images, split, config)
    # (sources, attacks, networks, N)
    right = []
    for number, source in enumerate([*nets, ExpectedNet(nets)]):
        log(f"attacking {'the average' if number == len(nets) else f'network {number + 1} of {len(nets)}'}")
        made = (_made(attack, source, images, split, config) for attack in members)
        right.append(torch.stack([clean, *(_right(nets, each, split, config) for each in made)]))
    by_net, by_average = torch.stack(right[:-1]), right[-1]
    places = range(len(nets))
    own = torch.stack(right).amin((0, 1)).mean(0)
    others = [[j for j in places if j != i] for i in places]
    other = torch.stack([by_net[i, :, others[i]].mean(1).amin(0) for i in places]).mean(0)
    expected = by_average.mean(1).amin(0)
    worst = torch.minimum(expected, by_net.mean(2).amin((0, 1)))
    shares = {"": clean.mean(0), OWN: own, OTHER: other, EXPECTED: expected, WORST: worst}
    return [_row(name, values) for name, values in shares.items()]


def _members(name: str, config: EvaluationConfig) -> tuple[Attack, ...]:
    attack = build_attack(name, config.threat, config.rel_step)
    if attack is None:  # clean images are looked at anyway
        return ()
    return tuple(attack.attacks) if isinstance(attack, Ensemble) else (attack,)


def _made(
    attack: Attack, source: nn.Module, images: Tensor, split: Split, config: EvaluationConfig
) -> Tensor:
    options = RunOptions(stop_when_broken=False, verdict=False, block=config.batch)
    labels, ids = split.labels, split.ids
    return attack.run(source, images, labels, sample_ids=ids, seed=config.seed, options=options).images


def _right(nets: Sequence[nn.Module], images: Tensor, split: Split, config: EvaluationConfig) -> Tensor:
    """1.0 where a network is right: (networks, N) on the host."""
    verdicts = []
    for net in nets:
        blocks = Blocks(net, config.batch, split.labels)
        with eval_mode(net):
            verdicts.append(~misclassified(blocks.logits(images), split.labels).cpu())
    return torch.stack(verdicts).double()


def _row(attacked: str, shares: Tensor) -> SwitchRow:
    """shares: of the networks that are right on each image, (N,)."""
    mean, half, z = float(shares.mean()), 0.0, NormalDist().inv_cdf(0.975)
    if mean in (0.0, 1.0):
        half = z**2 / (len(shares) + z**2)
    elif len(shares) > 1:
        half = z * float(shares.std()) / math.sqrt(len(shares))
    return SwitchRow(attacked, mean, max(0.0, mean - half), min(1.0, mean + half))
