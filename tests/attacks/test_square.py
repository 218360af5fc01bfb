"""Laws of the Square attack: its search, its queries, what it needs of networks and images."""

import itertools
import math

import pytest
import torch
from square_case import QUERIES, THREATS, N, Watched, losses, queried, square_batch, square_net
from torch import Tensor, nn

from attacks import InputError, RunOptions, ThreatModel
from attacks.square import Square, window_share
from attacks.windows import L2Windows


@pytest.fixture(params=THREATS)
def threat(request) -> ThreatModel:
    return THREATS[request.param]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return square_net()


@pytest.fixture(scope="module")
def batch(net) -> tuple[Tensor, Tensor]:
    return square_batch(net)


# The search


@pytest.mark.parametrize("restarts", [1, 3])
def test_queries_and_result_lie_in_ball_and_box(restarts, threat, net, batch):
    queries, _, result = queried(Square(threat, queries=QUERIES, restarts=restarts), net, batch)
    assert len(queries) == restarts * QUERIES
    for images in (*queries, result.images):
        assert threat.allows(images, batch[0]).all()


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("verdict", [False, True])
def test_the_best_of_all_queries_is_returned(verdict, restarts, threat, net, batch):
    attack = Square(threat, queries=QUERIES, restarts=restarts)
    queries, values, result = queried(attack, net, batch, options=RunOptions(verdict=verdict), seed=3)
    highest, place = values.max(0)
    assert torch.equal(result.images, queries[place, torch.arange(N)])
    torch.testing.assert_close(losses(net, result.images, batch[1]), highest, rtol=0, atol=1e-12)
    assert len(place.unique()) > 5
    if verdict:
        assert torch.equal(result.broken, (values > 0).any(0))
        assert 0 < int(result.broken.sum()) < N
    else:
        assert result.broken is None


def test_a_candidate_is_the_best_so_far_changed_within_a_square(net, batch):
    """In Linf: every pixel of the window goes eps away, in a channel all to one side, as the box allows."""
    threat, images = THREATS["Linf"], batch[0]
    queries, values, _ = queried(Square(threat, queries=QUERIES), net, batch)
    best, highest = queries[0].clone(), values[0].clone()
    edges = torch.stack([(images + sign * threat.eps).clamp(0, 1) for sign in (-1, 1)])
    accepted = 0
    for query in range(1, QUERIES):
        side = min(max(round(math.sqrt(window_share(0.8, query) * 63)), 1), 7)
        for i in range(N):
            matches = 0
            for top, left in itertools.product(range(9 - side + 1), range(7 - side + 1)):
                within = (slice(None), slice(top, top + side), slice(left, left + side))
                rest = queries[query, i].clone()
                rest[within] = best[i][within]
                to_one_side = (queries[query, i][within] == edges[:, i][:, *within]).flatten(2).all(2).any(0)
                matches += bool(torch.equal(rest, best[i]) and to_one_side.all())
            assert matches >= 1
        better = values[query] > highest
        accepted += int(better.sum())
        best[better], highest[better] = queries[query][better], values[query][better]
    assert accepted > 2 * N  # else the test says nothing of the search


def test_a_candidate_keeps_the_ball_full_and_all_but_two_windows(net, batch):
    """In L2, on grey images, where nothing is clipped."""
    threat, images = THREATS["L2"], torch.full_like(batch[0], 0.5)
    with torch.no_grad():
        grey = images, net(images).argmax(1)
    queries, values, _ = queried(Square(threat, queries=QUERIES), net, grey)
    lengths = (queries - images).flatten(2).norm(dim=2)
    torch.testing.assert_close(lengths, torch.full_like(lengths, threat.eps), rtol=1e-12, atol=0)
    best, highest = queries[0].clone(), values[0].clone()
    for query in range(1, QUERIES):
        side = L2Windows(images, threat.eps).side(window_share(0.8, query))
        changed = ((queries[query] - best).abs() > 1e-12).any(1)
        assert (changed.flatten(1).sum(1) <= 2 * side**2).all()
        assert changed.flatten(1).any(1).all()
        better = values[query] > highest
        best[better], highest[better] = queries[query][better], values[query][better]


@pytest.mark.parametrize("restarts", [1, 2])
def test_the_loss_never_falls_with_more_queries(restarts, threat, net, batch):
    short, long = (Square(threat, queries=q, restarts=restarts).run(net, *batch, seed=1) for q in (50, 200))
    before, after = (losses(net, result.images, batch[1]) for result in (short, long))
    assert (after >= before).all()
    assert (after > before).any()
    assert (long.broken | ~short.broken).all()


@pytest.mark.parametrize("stop", [False, True])
def test_more_restarts_never_break_less(stop, threat, net, batch):
    runs = [
        Square(threat, queries=2, restarts=r)
        .run(net, *batch, seed=1, options=RunOptions(stop_when_broken=stop))
        .broken
        for r in range(1, 9)
    ]
    for fewer, more in itertools.pairwise(runs):
        assert (more | ~fewer).all()
    assert int(runs[-1].sum()) > int(runs[0].sum())


def test_a_longer_search_begins_as_a_shorter_one_in_every_restart(threat, net, batch):
    short, long = (queried(Square(threat, queries=q, restarts=2), net, batch)[0] for q in (5, 9))
    assert torch.equal(short[:5], long[:5])
    assert torch.equal(short[5:], long[9:14])


def test_restarts_draw_other_numbers(threat, net, batch):
    queries, _, _ = queried(Square(threat, queries=2, restarts=3), net, batch)
    for one, other in itertools.combinations(queries[::2], 2):
        assert (one != other).flatten(1).any(1).all()


# What it costs, and who pays


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("verdict", [False, True])
@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("block", [None, 5])
def test_reported_passes_are_those_of_the_net(block, stop, verdict, restarts, threat, net, batch):
    watched = Watched(net)
    attack = Square(threat, queries=7, restarts=restarts)
    result = attack.run(
        watched, *batch, options=RunOptions(stop_when_broken=stop, verdict=verdict, block=block)
    )
    assert (result.forwards, result.backwards) == (watched.forwards, 0)
    if not stop and block is None:
        assert result.forwards == restarts * 7 * N


@pytest.mark.parametrize("restarts", [1, 3])
def test_stopping_when_broken_changes_the_work_and_not_the_verdict(restarts, threat, net, batch):
    attack = Square(threat, queries=QUERIES, restarts=restarts)
    queries, values, whole = queried(attack, net, batch, seed=3)
    short = attack.run(net, *batch, seed=3, options=RunOptions(stop_when_broken=True))
    assert torch.equal(short.broken, whole.broken)
    assert 0 < int(whole.broken.sum()) < N
    wrong = values > 0
    first = torch.where(wrong.any(0), wrong.int().argmax(0), len(queries) - 1)
    assert short.forwards == int((first + 1).sum()) < whole.forwards
    broken = short.broken
    torch.testing.assert_close(short.images[~broken], whole.images[~broken], rtol=0, atol=1e-12)
    breaks = queries[first, torch.arange(N)]
    torch.testing.assert_close(short.images[broken], breaks[broken], rtol=0, atol=1e-12)
    assert torch.equal(losses(net, short.images, batch[1]) > 0, broken)


def test_what_is_broken_from_the_start_costs_one_query(threat, net, batch):
    images, labels = batch
    result = Square(threat, queries=9, restarts=2).run(
        net, images, (labels + 1) % 5, start=images, options=RunOptions(stop_when_broken=True)
    )
    assert result.broken.all()
    assert result.forwards == N
    assert torch.equal(result.images, images)


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("block", [None, 5])
def test_a_sample_does_not_feel_its_batch(block, stop, threat, net, batch):
    images, labels = batch
    attack, ids = Square(threat, queries=QUERIES, restarts=2), torch.arange(N) + 2**34
    whole = attack.run(net, images, labels, sample_ids=ids, seed=9, options=RunOptions(stop))
    options = RunOptions(stop, block=block)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    for rows in order.split(7):
        part = attack.run(net, images[rows], labels[rows], sample_ids=ids[rows], seed=9, options=options)
        torch.testing.assert_close(part.images, whole.images[rows], rtol=0, atol=1e-12)
        assert torch.equal(part.broken, whole.broken[rows])


def test_a_seed_decides_all_and_the_global_generator_nothing(threat, net, batch):
    attack = Square(threat, queries=10, restarts=2)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = attack(net, *batch, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(attack(net, *batch, seed=1), first)
    assert torch.equal(attack.run(net, *batch, seed=1, sample_ids=torch.arange(N)).images, first)
    for other in (
        attack(net, *batch, seed=2),
        attack.run(net, *batch, seed=1, sample_ids=torch.arange(N) + 1).images,
    ):
        assert (other != first).flatten(1).any(1).all()


def test_a_start_replaces_the_first_restart_alone(threat, net, batch):
    attack, start = Square(threat, queries=3, restarts=2), threat.project(batch[0].flip(0), batch[0])
    own, _, _ = queried(attack, net, batch)
    from_start, _, _ = queried(attack, net, batch, start=start)
    assert torch.equal(from_start[0], start)
    assert torch.equal(from_start[3], own[3])


# What it asks of nets, images and settings


def test_a_network_without_gradients_is_attacked(threat, net, batch):
    attack = Square(threat, queries=10)
    assert torch.equal(attack(lambda x: net(x).detach(), *batch), attack(net, *batch))


def test_logits_of_another_type_are_fine(threat, net, batch):
    result = Square(threat, queries=10).run(lambda x: net(x).bfloat16(), *batch)
    assert result.images.dtype == torch.float64
    assert threat.allows(result.images, batch[0]).all()


@pytest.mark.parametrize("stop", [False, True])
def test_a_tie_that_is_misclassified_is_broken(stop, threat):
    """Both logits are 0, and the first one wins; label 1 is wrong though its margin is 0."""
    images = torch.full((2, 1, 4, 4), 0.5)
    result = Square(threat, queries=3).run(
        lambda x: torch.zeros(len(x), 2),
        images,
        torch.tensor([0, 1]),
        options=RunOptions(stop_when_broken=stop),
    )
    assert result.broken.tolist() == [False, True]


@pytest.mark.parametrize("stop", [False, True])
def test_a_tie_that_is_misclassified_replaces_one_that_is_not(stop):
    """Two logits that tie from the start; a third one, that the first pixel raises, ties with them later."""
    threat, images = THREATS["Linf"], torch.full((8, 1, 4, 4), 0.5, dtype=torch.float64)

    def ties(x: Tensor) -> Tensor:
        up = (x[:, 0, 0, 0] > 0.5).double()
        return torch.stack([up - 1, torch.zeros_like(up), torch.zeros_like(up)], 1)

    labels = torch.ones(8, dtype=torch.int64)
    result = Square(threat, queries=60).run(ties, images, labels, options=RunOptions(stop_when_broken=stop))
    assert result.broken.all()
    assert (ties(result.images).argmax(1) != labels).all()


def test_logits_that_are_nan_are_never_robust(threat, net, batch):
    result = Square(threat, queries=3).run(
        lambda x: net(x) * float("nan"), *batch, options=RunOptions(check=False)
    )
    assert result.broken.all()


@pytest.mark.parametrize("shape", [(N, 12), (N, 3, 4), (N, 3, 2, 2, 2)])
def test_images_without_rows_and_columns_are_refused(shape, threat):
    with pytest.raises(InputError, match=r"square changes windows of pixels: expected images \(N, C, H, W\)"):
        Square(threat).run(lambda x: x.flatten(1), torch.rand(*shape), torch.zeros(N, dtype=torch.int64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queries": 0}, "queries must be at least 1, got 0"),
        ({"restarts": 0}, "restarts must be at least 1, got 0"),
        ({"p": 0.0}, r"p must be a share of the image above 0, at most 1, got 0\.0"),
        ({"p": 1.01}, r"at most 1, got 1\.01"),
        ({"p": float("nan")}, "at most 1, got nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(settings, message, threat):
    with pytest.raises(ValueError, match=message):
        Square(threat, **settings)


def test_settings_are_those_of_the_standard_set_by_default(threat):
    assert Square(threat).settings == {"queries": 5000, "p": 0.8, "restarts": 1}
