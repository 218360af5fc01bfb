"""Laws of the ensemble: the union of its members, each run on the samples that are still robust."""

import copy

import pytest
import torch
from small_nets import Counted, K, N
from torch import Tensor

from robust_tickets.attacks import (
    APGD,
    FGSM,
    PGD,
    APGDTargeted,
    Attack,
    Ensemble,
    RunOptions,
    Square,
    ThreatModel,
    apgd_pair,
    autoattack,
)
from robust_tickets.attacks.adapter import TorchAttack, fab_t
from robust_tickets.attacks.blocks import Blocks
from robust_tickets.attacks.task import AttackResult, Task


@pytest.fixture(scope="module")
def batch(batch) -> tuple[Tensor, Tensor]:
    """Labels are the network's own, but for the first three, which it gets wrong."""
    images, labels = batch
    return images, torch.cat([(labels[:3] + 1) % K, labels[3:]])


def members(threat: ThreatModel) -> list[Attack]:
    """Weak ones first; the later ones break more, and others."""
    return [
        Square(threat, queries=2),
        PGD(threat, steps=1, rel_step=0.5),
        APGD(threat, steps=4, loss="dlr"),
        APGDTargeted(threat, steps=6, targets=3),
    ]


def test_an_ensemble_breaks_the_union_of_its_members_and_names_the_first(threat, net, batch):
    alone = torch.stack([attack.run(net, *batch, seed=3).broken for attack in members(threat)])
    assert len({int(broken.sum()) for broken in alone}) > 2  # the members differ
    first = torch.where(alone.any(0), alone.int().argmax(0), -1)
    assert len(first.unique()) > 2
    result = Ensemble(members(threat)).run(net, *batch, seed=3)
    assert 0 < int(result.broken.sum()) < N
    assert torch.equal(result.broken, alone.any(0))
    assert torch.equal(result.broken_by, first)
    back = Ensemble(members(threat)[::-1]).run(net, *batch, seed=3)
    assert torch.equal(back.broken, result.broken)
    assert not torch.equal(3 - back.broken_by[result.broken], first[result.broken])


def test_a_broken_sample_comes_with_an_image_that_breaks_it_and_others_with_the_last(threat, net, batch):
    images, labels = batch
    result = Ensemble(members(threat)).run(net, images, labels, seed=3)
    assert threat.allows(result.images, images).all()
    assert torch.equal(net(result.images).argmax(1) != labels, result.broken)
    last, robust = members(threat)[-1].run(net, *batch, seed=3).images, ~result.broken
    torch.testing.assert_close(result.images[robust], last[robust], rtol=0, atol=1e-9)


class Recorder(Attack):
    """Breaks the samples of some ids, and records its tasks."""

    passes_per_sample = 0

    def __init__(self, threat: ThreatModel, breaks: list[int]) -> None:
        self.threat, self.breaks, self.tasks = threat, torch.tensor(breaks), []

    def _run(self, net: Blocks, task: Task) -> AttackResult:
        self.tasks.append(task)
        broken = torch.isin(task.ids, self.breaks)
        return AttackResult(task.images, broken, net.forwards, net.backwards, outside=2)


def test_each_member_gets_the_samples_that_are_still_robust(threat, net, batch):
    images, labels = batch
    members = [Recorder(threat, breaks) for breaks in ([1, 2], [2, 5], [7], list(range(N)), [])]
    ids, start = torch.arange(N), threat.project(images.flip(0), images)
    result = Ensemble(members).run(net, images, labels, sample_ids=ids, start=start, seed=11)
    broken: set[int] = set()
    assert members[4].tasks == []  # nothing is robust any more
    for attack in members[:4]:
        (task,) = attack.tasks
        assert task.ids.tolist() == [i for i in range(N) if i not in broken]
        assert torch.equal(task.images, images[task.ids])
        assert torch.equal(task.labels, labels[task.ids])
        assert torch.equal(task.start, start[task.ids])
        assert (task.seed, task.options) == (11, RunOptions(stop_when_broken=True))
        broken |= set(attack.breaks.tolist())
    assert [int(result.broken_by[i]) for i in (1, 2, 5, 7)] == [0, 0, 1, 2]
    assert int((result.broken_by == 3).sum()) == N - 4
    assert result.outside == 4 * 2


def test_an_ensemble_costs_less_than_its_members_apart_and_stopping_changes_nothing(threat, net, batch):
    stop = RunOptions(stop_when_broken=True)
    plain, stopped = (
        Ensemble(members(threat)).run(net, *batch, seed=0, options=options)
        for options in (RunOptions(), stop)
    )
    apart = [attack.run(net, *batch, seed=0, options=stop) for attack in members(threat)]
    assert plain.forwards < sum(result.forwards for result in apart)
    assert plain.backwards < sum(result.backwards for result in apart)
    assert torch.equal(stopped.images, plain.images)
    assert torch.equal(stopped.broken, plain.broken)
    assert stopped.forwards == plain.forwards


def test_an_ensemble_of_ensembles_is_one(threat, net, batch):
    flat = Ensemble(members(threat)).run(net, *batch, seed=3)
    deep = Ensemble([Ensemble(members(threat)[:2]), Ensemble(members(threat)[2:])]).run(net, *batch, seed=3)
    assert torch.equal(deep.broken, flat.broken)
    assert (deep.forwards, deep.backwards) == (flat.forwards, flat.backwards)


def test_third_party_attacks_are_members_too(net, batch):
    images, labels, counted = batch[0].float(), batch[1], Counted(copy.deepcopy(net).float())
    threat = ThreatModel("Linf", 0.02)
    cw = TorchAttack(threat, "CW", c=1, steps=5, lr=0.2)
    alone = cw.run(counted.net, images, labels, seed=0)
    ensemble = Ensemble([cw, fab_t(threat, steps=3), PGD(threat, steps=3)], names=("cw", "fab", "pgd"))
    result = ensemble.run(counted, images, labels, seed=0)
    assert result.outside >= alone.outside > 0
    assert torch.equal(result.broken_by == 0, alone.broken)
    assert (result.forwards, result.backwards) == counted.passes
    assert threat.allows(result.images, images).all()


def test_members_are_called_by_their_classes_where_no_names_are_given(threat):
    ensemble = Ensemble([PGD(threat, steps=2), PGD(threat, steps=7), FGSM(threat)])
    assert ensemble.names == ("PGD", "PGD-2", "FGSM")
    assert [ensemble.settings[name]["steps"] for name in ("PGD", "PGD-2")] == [2, 7]
    assert "'steps': 2," in repr(ensemble)
    assert Ensemble(ensemble.attacks, ("a", "b", "c")).settings.keys() == {"a", "b", "c"}


def test_the_pair_is_the_beginning_of_autoattack_and_the_rest_is_what_follows(threat):
    pair, whole = apgd_pair(threat), autoattack(threat)
    rest = whole.without_first(len(pair.attacks))
    assert pair.settings | rest.settings == whole.settings
    assert [*pair.names, *rest.names] == list(whole.names)
    assert rest.attacks == whole.attacks[2:]
    assert pair.least_classes == 4


def test_autoattack_is_the_standard_set(threat):
    attack = autoattack(threat)
    assert attack.threat == threat
    assert attack.names == ("apgd-ce", "apgd-t", "fab-t", "square")
    assert [type(member) for member in attack.attacks] == [APGD, APGDTargeted, TorchAttack, Square]
    assert all(member.threat == threat for member in attack.attacks)
    assert attack.settings["apgd-ce"] == {"steps": 100, "loss": "ce", "restarts": 1, "rho": 0.75}
    assert attack.settings["apgd-t"] == {"steps": 100, "targets": 9, "restarts": 1, "rho": 0.75}
    fab = attack.settings["fab-t"]
    arguments = {"name": "FAB", "steps": 100, "multi_targeted": True, "n_restarts": 1, "n_classes": 10}
    assert arguments.items() <= fab.items()
    assert attack.settings["square"] == {"queries": 5000, "p": 0.8, "restarts": 1}
