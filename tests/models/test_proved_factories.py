"""A function's network is proved sound once for each build, and what proofs find is still found."""

import pytest
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models import user_net
from robust_tickets.models.registry import ModelSpec
from robust_tickets.models.user_net import build_user_net

SPEC = ModelSpec("own", 1.0, (1, 6, 6), 3, (0.0,), (1.0,))


def linear(bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=bias))


@pytest.fixture
def proofs(monkeypatch):
    """The names of the proofs that were run."""
    run = []
    for name in ("check_copies", "check_whole_state", "_check_trains"):
        proof = getattr(user_net, name)
        monkeypatch.setattr(user_net, name, lambda *a, proof=proof, name=name: (run.append(name), proof(*a)))
    return run


def test_each_function_is_proved_once_a_build(proofs):
    builds = iter([True, True, False, True])

    def own():
        return linear(next(builds))

    for seed, expected in ((0, 3), (1, 3), (2, 6), (3, 6)):
        build_user_net(own, SPEC, seed=seed)
        assert len(proofs) == expected
    build_user_net(lambda: linear(), SPEC, seed=0)  # another function of the same build
    assert len(proofs) == 9


def test_what_is_not_to_be_trained_is_proved_again_where_it_is(proofs):
    def own():
        return linear()

    build_user_net(own, SPEC, seed=0, train=False)
    assert proofs == ["check_copies", "check_whole_state"]
    build_user_net(own, SPEC, seed=0)
    assert proofs[2:] == ["check_copies", "check_whole_state", "_check_trains"]


def test_a_build_that_was_refused_is_not_proved():
    def own():
        net = linear()
        net[0].forward = lambda x: x.detach().flatten(1)
        return net

    for _ in range(2):
        with pytest.raises(InputError, match="passes no gradient to the images"):
            build_user_net(own, SPEC, seed=0)
