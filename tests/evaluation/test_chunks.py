"""Chunks: two batches, halved where attack and network are expensive, by a rule of nothing else."""

import pytest

from robust_tickets.attacks import FGSM, Ensemble, Square, ThreatModel, TorchAttack, autoattack
from robust_tickets.evaluation.chunks import CHUNK_FLOPS, chunk_size
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate

THREAT = ThreatModel("Linf", 0.03)
RESNET18 = 1_110_845_440  # FLOPs of a forward pass of one image


@pytest.mark.parametrize(
    ("passes", "flops", "size"),
    [
        (3, RESNET18, 500),
        (41, RESNET18, 125),
        (201, RESNET18, 15),
        (10_000, RESNET18, 7),
        (10_000, 5_065_984, 125),  # ResNet-20 on 8 x 8 digits
        (201, 5_065_984, 500),
        (10_000, 0, 500),
    ],
)
def test_a_chunk_of_resnet_18_takes_about_half_a_minute_on_two_cores(passes, flops, size):
    assert chunk_size(250, passes, flops) == size


@pytest.mark.parametrize("device", CHUNK_FLOPS)
@pytest.mark.parametrize("batch", [1, 6, 7, 100, 250, 256])
def test_a_chunk_is_two_batches_or_its_halves_and_the_largest_within_the_budget(batch, device):
    sizes = [chunk_size(batch, 1, flops, device) for flops in (0, 10**12, 10**13, 10**14, 10**16, 10**18)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 2 * batch
    assert set(sizes) <= {2 * batch >> halvings for halvings in range(9)}
    for flops, size in zip((10**12, 10**13, 10**14, 10**16), sizes[1:], strict=False):
        assert size * flops <= CHUNK_FLOPS[device] or size < 14
        assert size == 2 * batch or 2 * size * flops > CHUNK_FLOPS[device]


def test_passes_of_ensembles_add_up_and_those_of_third_party_attacks_follow_their_steps():
    assert Ensemble([FGSM(THREAT), Square(THREAT, queries=6)]).passes_per_sample == 3 + 6

    def passes(name, **arguments):
        return TorchAttack(THREAT, name, **arguments).passes_per_sample

    assert passes("PGD", steps=10) == 31
    assert passes("APGD", steps=10, n_restarts=2, eot_iter=3) == 181
    assert passes("Square", n_queries=100) == 301
    assert passes("DeepFool", steps=50) == 1501
    assert passes("FAB", steps=10) == 31
    assert 9_000 < passes("AutoAttack") < 12_000
    assert 9_000 < autoattack(THREAT).passes_per_sample < 12_000


def test_an_evaluation_goes_by_the_rule(net, split):
    """By FLOPs that allow four passes of fifteen samples."""
    config = EvaluationConfig(THREAT, batch=15, flops=int(CHUNK_FLOPS["cpu"] / (4 * 15)))
    sizes = {}

    def on_images(name, samples, images, broken):
        sizes.setdefault(name, []).append(len(samples))

    clean, *_ = evaluate(net, split, ["fgsm", "pgd-2"], config, on_images=on_images)
    left = int(clean.robust.sum())
    assert sizes["fgsm"] == [15] * (left // 15) + [left % 15]
    assert sizes["pgd-2"] == [7] * (left // 7) + [left % 7]
