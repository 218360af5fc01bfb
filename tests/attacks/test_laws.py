"""Laws of every attack of ours in both norms: passes, stops, restarts, random numbers, batches and blocks."""

import itertools
from functools import partial

import pytest
import torch
from small_nets import Counted, N

from robust_tickets.attacks import APGD, PGD, APGDTargeted, Ensemble, RunOptions, Square

ATTACKS = {  # and the forward and backward passes of a sample
    "pgd": (partial(PGD, steps=10), (11, 10)),
    "pgd with restarts": (partial(PGD, steps=4, restarts=3), (15, 12)),
    "apgd": (partial(APGD, steps=20), (21, 20)),
    "apgd on margins with restarts": (partial(APGD, steps=10, loss="margin", restarts=3), (33, 30)),
    "apgd on dlr": (partial(APGD, steps=20, loss="dlr"), (21, 20)),
    "targeted apgd": (partial(APGDTargeted, steps=10, targets=3), (34, 30)),
    "targeted apgd with restarts": (partial(APGDTargeted, steps=5, targets=2, restarts=3), (37, 30)),
    "square": (partial(Square, queries=40), (40, 0)),
    "square with restarts": (partial(Square, queries=40, restarts=3), (120, 0)),
    "ensemble": (lambda threat: Ensemble([Square(threat, queries=2), APGD(threat, steps=4)]), None),
}
SINGLE = [name for name in ATTACKS if name != "ensemble"]  # a broken sample leaves an ensemble in any case


@pytest.fixture(params=ATTACKS)
def name(request) -> str:
    return request.param


@pytest.fixture
def attack(name, threat):
    return ATTACKS[name][0](threat)


@pytest.fixture
def tolerance(name) -> float:
    """How far rounding may move an image where a sample is attacked in another batch."""
    return 1e-12 if name.startswith(("pgd", "square")) else 1e-9


@pytest.mark.parametrize("block", [None, 5])
@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("verdict", [False, True])
def test_reported_passes_are_the_network_s_and_images_lie_in_ball_and_box(
    verdict, stop, block, attack, net, batch
):
    counted = Counted(net)
    result = attack.run(
        counted, *batch, options=RunOptions(stop_when_broken=stop, verdict=verdict, block=block)
    )
    assert (result.forwards, result.backwards) == counted.passes
    assert attack.threat.allows(result.images, batch[0]).all()


@pytest.mark.parametrize("name", SINGLE)
def test_a_sample_that_does_not_leave_costs_what_the_settings_say(name, attack, net, batch):
    result = attack.run(net, *batch)
    forwards, backwards = ATTACKS[name][1]
    assert (result.forwards, result.backwards) == (forwards * N, backwards * N)
    assert attack.passes_per_sample == forwards + backwards


def test_no_verdict_changes_no_image_and_saves_pgd_its_last_look(name, attack, net, batch):
    judged, unjudged = (
        attack.run(net, *batch, options=RunOptions(verdict=verdict), seed=2) for verdict in (True, False)
    )
    saved = N if name == "pgd" else 0
    assert (judged.forwards - unjudged.forwards, judged.backwards) == (saved, unjudged.backwards)
    assert unjudged.broken is None
    assert torch.equal(judged.images, unjudged.images)
    assert torch.equal(attack(net, *batch, seed=2), judged.images)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("block", [None, 8])
def test_stopping_when_broken_changes_the_work_and_not_the_verdict(block, attack, tolerance, net, batch):
    whole = attack.run(net, *batch, seed=3)
    short = attack.run(net, *batch, seed=3, options=RunOptions(stop_when_broken=True, block=block))
    assert torch.equal(short.broken, whole.broken)
    assert 0 < int(whole.broken.sum()) < N
    assert short.forwards < 0.8 * whole.forwards
    robust = ~whole.broken
    torch.testing.assert_close(short.images[robust], whole.images[robust], rtol=0, atol=tolerance)
    wrong = net(short.images).argmax(1) != batch[1]
    assert torch.equal(wrong, short.broken)  # a broken sample comes with the image that breaks it
    assert attack.threat.allows(short.images, batch[0]).all()


def test_a_sample_that_is_broken_at_the_start_costs_one_pass(attack, net, batch):
    images, labels = batch
    result = attack.run(
        net, images, (labels + 1) % 5, start=images, options=RunOptions(stop_when_broken=True)
    )
    assert result.broken.all()
    assert result.forwards == N
    assert torch.equal(result.images, images)


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("block", [None, 5])
def test_a_sample_depends_on_neither_batch_nor_blocks(block, stop, attack, tolerance, net, batch):
    images, labels = batch
    ids, options = torch.arange(N) + 2**34, RunOptions(stop_when_broken=stop, block=block)
    whole = attack.run(net, images, labels, sample_ids=ids, seed=9, options=RunOptions(stop))
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    for rows in order.split(7):
        part = attack.run(net, images[rows], labels[rows], sample_ids=ids[rows], seed=9, options=options)
        torch.testing.assert_close(part.images, whole.images[rows], rtol=0, atol=tolerance)
        assert torch.equal(part.broken, whole.broken[rows])
        assert whole.broken_by is None or torch.equal(part.broken_by, whole.broken_by[rows])


def test_random_numbers_follow_from_seed_and_id_which_is_the_place_by_default(name, attack, net, batch):
    first = attack(net, *batch, seed=1)
    assert torch.equal(attack.run(net, *batch, seed=1, sample_ids=torch.arange(N)).images, first)
    other_ids = attack.run(net, *batch, seed=1, sample_ids=torch.arange(N) + 1).images
    for other in (attack(net, *batch, seed=2), other_ids):
        moved = (other != first).flatten(1).any(1)
        assert moved.all() if "square" in name else moved.any()  # climbs may end in the same corner


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("weak", [partial(PGD, steps=1, rel_step=1 / 8), partial(Square, queries=2)])
def test_more_restarts_never_break_less(weak, stop, threat, net, batch):
    runs = [
        weak(threat, restarts=r).run(net, *batch, seed=1, options=RunOptions(stop_when_broken=stop)).broken
        for r in range(1, 9)
    ]
    for fewer, more in itertools.pairwise(runs):
        assert (more | ~fewer).all()
    assert int(runs[-1].sum()) > int(runs[0].sum())
