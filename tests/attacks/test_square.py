"""Square: its search and its queries."""

import itertools
import math

import pytest
import torch
from small_nets import THREATS, N, conv_net
from torch import Tensor, nn

from robust_tickets.attacks import InputError, RunOptions
from robust_tickets.attacks.losses import margin
from robust_tickets.attacks.square import Square, window_share

SHAPE = (3, 9, 7)
QUERIES = 40


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return conv_net(*SHAPE[1:], 5)


@pytest.fixture(scope="module")
def batch(net) -> tuple[Tensor, Tensor]:
    """Images up to the edges of the box; labels are the network's own, so that some break and some do not."""
    generator = torch.Generator().manual_seed(7)
    images = (torch.rand(N, *SHAPE, generator=generator, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    with torch.no_grad():
        return images, net(images).argmax(1)


def losses(net: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return margin(net(images), labels)


def queried(attack: Square, net: nn.Module, batch: tuple[Tensor, Tensor], seed: int = 0, **settings) -> tuple:
    """The images and losses of a run without stops, by query, and its result."""
    queries = []

    def listed(images: Tensor) -> Tensor:
        queries.append(images)
        return net(images.detach()).detach()

    result = attack.run(listed, *batch, seed=seed, **settings)
    values = torch.stack([losses(net, images, batch[1]) for images in queries])
    return torch.stack(queries), values, result


def test_the_start_in_linf_is_stripes(net, batch):
    """One column, one channel, one sign: half of them up, as far as the box allows."""
    images, eps = batch[0], THREATS["Linf"].eps
    start = queried(Square(THREATS["Linf"], queries=1), net, batch)[0][0]
    up = (start == (images + eps).clamp(0, 1)).all(2)
    down = (start == (images - eps).clamp(0, 1)).all(2)
    assert (up ^ down).all()
    assert float(up.double().mean()) == pytest.approx(0.5, abs=0.1)  # 504 stripes
    assert len(up.flatten(1).unique(dim=0)) == N
    for dim in (1, 2):  # neither channels nor columns share theirs
        assert (up.double().mean(dim) % 1 > 0).any()


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("verdict", [False, True])
def test_all_queries_are_allowed_and_the_best_is_returned(verdict, restarts, threat, net, batch):
    attack = Square(threat, queries=QUERIES, restarts=restarts)
    queries, values, result = queried(attack, net, batch, options=RunOptions(verdict=verdict), seed=3)
    assert len(queries) == restarts * QUERIES
    assert all(threat.allows(images, batch[0]).all() for images in queries)
    highest, place = values.max(0)
    assert torch.equal(result.images, queries[place, torch.arange(N)])
    torch.testing.assert_close(losses(net, result.images, batch[1]), highest, rtol=0, atol=1e-12)
    assert len(place.unique()) > 5
    if verdict:
        assert torch.equal(result.broken, (values > 0).any(0))
        assert 0 < int(result.broken.sum()) < N


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


def test_a_longer_search_begins_as_a_shorter_one_in_every_restart(threat, net, batch):
    short, long = (queried(Square(threat, queries=q, restarts=3), net, batch)[0] for q in (5, 9))
    for restart in range(3):
        assert torch.equal(short[5 * restart :][:5], long[9 * restart :][:5])
    for one, other in itertools.combinations(short[::5], 2):  # restarts draw other numbers
        assert (one != other).flatten(1).any(1).all()


def test_a_start_replaces_the_first_restart_alone(threat, net, batch):
    attack, start = Square(threat, queries=3, restarts=2), threat.project(batch[0].flip(0), batch[0])
    own, _, _ = queried(attack, net, batch)
    from_start, _, _ = queried(attack, net, batch, start=start)
    assert torch.equal(from_start[0], start)
    assert torch.equal(from_start[3], own[3])


@pytest.mark.parametrize("restarts", [1, 3])
def test_a_broken_sample_pays_for_its_queries_until_then_and_comes_with_the_last(
    restarts, threat, net, batch
):
    attack = Square(threat, queries=QUERIES, restarts=restarts)
    queries, values, _ = queried(attack, net, batch, seed=3)
    short = attack.run(net, *batch, seed=3, options=RunOptions(stop_when_broken=True))
    wrong = values > 0
    first = torch.where(wrong.any(0), wrong.int().argmax(0), len(queries) - 1)
    assert short.forwards == int((first + 1).sum())
    breaks = queries[first, torch.arange(N)]
    torch.testing.assert_close(short.images[short.broken], breaks[short.broken], rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("shape", [(N, 12), (N, 3, 4), (N, 3, 2, 2, 2)])
def test_images_without_rows_and_columns_are_refused(shape, threat):
    with pytest.raises(InputError, match=r"square changes windows of pixels: expected images \(N, C, H, W\)"):
        Square(threat).run(lambda x: x.flatten(1), torch.rand(*shape), torch.zeros(N, dtype=torch.int64))
