"""The evaluation of a network by several processes, which take its chunks of images in turn."""

from collections.abc import Sequence

import torch

from robust_tickets.attacks.network import Net
from robust_tickets.base.process_group import ProcessGroup
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate
from robust_tickets.evaluation.verdict_matrix import VerdictColumn, VerdictMatrix

_FOLLOW = f"{__name__}:follow"


def call_followers(
    group: ProcessGroup,
    net: Net,
    split: Split,
    attacks: Sequence[str],
    config: EvaluationConfig,
    source: Net | None,
    verdicts: VerdictMatrix,
    with_images: bool,
) -> None:
    """Let the other processes take part in an evaluation that this one begins.

    with_images: whether adversarial images are asked for; all else as `evaluate` has it.
    """
    if group.size > 1:
        columns, threads = list(verdicts.columns.values()), torch.get_num_threads()
        group.call(_FOLLOW, net, split, list(attacks), config, source, columns, with_images, threads)


def follow(
    group: ProcessGroup,
    net: Net,
    split: Split,
    attacks: Sequence[str],
    config: EvaluationConfig,
    source: Net | None,
    columns: Sequence[VerdictColumn],
    with_images: bool,
    threads: int,
) -> None:
    """Take part in an evaluation that the leader has begun; arguments as `call_followers` has them."""
    torch.set_num_threads(threads)
    verdicts = VerdictMatrix(split.ids, split.labels)
    # in host memory, as the leader has them
    for column in columns:
        column.verdicts, column.broken_by = column.verdicts.cpu(), column.broken_by.cpu()
        verdicts.columns[column.attack] = column
    on_images = (lambda *_: None) if with_images else None
    for _ in evaluate(
        net, split, attacks, config, source=source, verdicts=verdicts, on_images=on_images, group=group
    ):
        pass
