"""A transfer attack: the source is attacked, to the end; the network itself sees the images alone."""

import pytest
import torch

from robust_tickets.attacks import APGD, PGD, Ensemble, RunOptions, ThreatModel
from robust_tickets.attacks.text import BUILDERS, parse
from robust_tickets.data.batches import to_float
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate

THREAT = ThreatModel("Linf", 0.06)
NAMES = ["fgsm", "pgd(steps=3, restarts=2)", "apgd(steps=4)"]
CONFIG = EvaluationConfig(THREAT, batch=1, seed=2)


@pytest.fixture(scope="module")
def source(net):
    """Another network of the same kind, near enough for its attacks to break some samples of the network."""
    other = type(net)(seed=1).eval()
    with torch.no_grad():
        for mine, its in zip(other.parameters(), net.parameters(), strict=True):
            mine.mul_(0.3).add_(its)
    return other


def rows_of(net, source, split, names=NAMES, **more):
    return list(evaluate(net, split, names, CONFIG, source=source, **more))


def test_the_network_itself_sees_each_image_once_and_gives_no_gradient(net, source, split, counted):
    target, attacked = counted(net), counted(source)
    rows = rows_of(target, attacked, split)
    n = int(rows[0].robust.sum())  # in blocks of 1, so none is padded
    assert target.passes == (len(split) + len(NAMES) * n, 0)
    assert attacked.backwards == sum(row.backwards for row in rows)
    assert attacked.forwards + target.forwards == sum(row.forwards for row in rows)
    assert (rows[1].forwards, rows[1].backwards) == (2 * n, n)  # FGSM on the source runs to its end


def test_the_verdict_is_the_networks_own_on_the_images_of_the_attack_on_the_source(net, source, split):
    images = to_float(split.images, channels_last=False)
    clean, *rows = rows_of(net, source, split)
    assert torch.equal(clean.robust, net(images).argmax(1) == split.labels)
    for row, name in zip(rows, NAMES, strict=True):
        result = parse(name, THREAT, rel_step=0.25).run(
            source, images, split.labels, sample_ids=split.ids, seed=2, options=RunOptions(verdict=False)
        )
        robust = net(result.images).argmax(1) == split.labels
        assert torch.equal(row.robust, clean.robust & robust)
        assert 0 < int(row.robust.sum()) < int(clean.robust.sum())


def test_each_attack_of_an_ensemble_runs_to_its_end_and_has_its_own_verdicts(net, source, split, monkeypatch):
    parts = [PGD(THREAT, steps=3), APGD(THREAT, steps=4)]
    monkeypatch.setitem(BUILDERS, "autoattack", lambda threat: Ensemble(parts, names=("one", "two")))
    clean, both = rows_of(net, source, split, ["autoattack"])
    images = to_float(split.images, channels_last=False)
    robust, broken = clean.robust.clone(), []
    for part in parts:
        result = part.run(
            source, images, split.labels, sample_ids=split.ids, seed=2, options=RunOptions(verdict=False)
        )
        after = robust & (net(result.images).argmax(1) == split.labels)
        broken.append(int(robust.sum() - after.sum()))
        robust = after
    assert torch.equal(both.robust, robust)
    assert both.broken_by == {"one": broken[0], "two": broken[1]}
    assert broken[0] > 0


def test_a_network_without_gradients_can_be_attacked_by_transfer(net, source, split):
    def blind(images):
        return net(images).detach()

    assert [row.accuracy for row in rows_of(blind, source, split)] == [
        row.accuracy for row in rows_of(net, source, split)
    ]


def test_images_and_verdicts_are_those_of_the_network(net, source, split):
    def on_images(name, part, images, broken):
        assert torch.equal(net(images).argmax(1) != part.labels, broken)
        assert THREAT.allows(images, to_float(part.images, channels_last=False)).all()

    rows_of(net, source, split, on_images=on_images)
