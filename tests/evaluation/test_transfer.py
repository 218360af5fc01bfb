"""Laws of a transfer attack: another net is attacked, to the end; the net itself is shown the images."""

import pytest
import torch

from attacks import APGD, PGD, Ensemble, ThreatModel
from attacks.text import BUILDERS, parse
from robust_tickets.data.batches import to_float
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate

THREAT = ThreatModel("Linf", 0.06)
NAMES = ["fgsm", "pgd(steps=3, restarts=2)", "apgd(steps=4)"]
HOW = EvaluationConfig(THREAT, batch=1, seed=2)


@pytest.fixture(scope="module")
def source(net):
    """Another net of the same kind, near enough for its attacks to break some samples of the net."""
    other = type(net)(seed=1).eval()
    with torch.no_grad():
        for mine, its in zip(other.parameters(), net.parameters(), strict=True):
            mine.mul_(0.3).add_(its)
    return other


def rows_of(net, source, split, names=NAMES, **more):
    return list(evaluate(net, split, names, HOW, source=source, **more))


def test_the_net_itself_sees_each_image_once_and_gives_no_gradient(net, source, split, counted):
    target, attacked = counted(net), counted(source)
    rows = rows_of(target, attacked, split)
    n = int(rows[0].robust.sum())  # in blocks of 1, so none is padded
    assert target.passes == (len(split) + len(NAMES) * n, 0)
    assert attacked.backwards == sum(row.backwards for row in rows)
    assert attacked.forwards + target.forwards == sum(row.forwards for row in rows)


def test_the_verdict_is_the_nets_own_on_the_images_of_the_attack_on_the_source(net, source, split):
    images = to_float(split.images, channels_last=False)
    clean, *rows = rows_of(net, source, split)
    for row, name in zip(rows, NAMES, strict=True):
        moved = parse(name, THREAT, rel_step=0.25).run(
            source, images, split.labels, sample_ids=split.ids, seed=2, verdict=False
        )
        stands = net(moved.images).argmax(1) == split.labels
        assert torch.equal(row.robust, clean.robust & stands)
        assert 0 < int(row.robust.sum()) < int(clean.robust.sum())


def test_the_attack_on_the_source_runs_to_its_end(net, source, split):
    """A sample that falls early still climbs, for the net may be harder to fool than the source."""
    clean, fgsm, *_ = rows_of(net, source, split)
    n = int(clean.robust.sum())
    assert (fgsm.forwards, fgsm.backwards) == (2 * n, n)


def test_of_an_ensemble_each_attack_runs_to_its_end_and_the_net_judges_each(net, source, split, monkeypatch):
    parts = [PGD(THREAT, steps=3), APGD(THREAT, steps=4)]
    monkeypatch.setitem(BUILDERS, "autoattack", lambda threat: Ensemble(parts, names=("one", "two")))
    clean, both = rows_of(net, source, split, ["autoattack"])
    images = to_float(split.images, channels_last=False)
    stands, fell = clean.robust.clone(), []
    for part in parts:
        moved = part.run(source, images, split.labels, sample_ids=split.ids, seed=2, verdict=False)
        after = stands & (net(moved.images).argmax(1) == split.labels)
        fell.append(int(stands.sum() - after.sum()))
        stands = after
    assert torch.equal(both.robust, stands)
    assert both.broken_by == {"one": fell[0], "two": fell[1]}
    assert fell[0] > 0


def test_clean_verdicts_are_the_nets_own(net, source, split):
    alone, *_ = list(evaluate(net, split, [], HOW))
    clean, *_ = rows_of(net, source, split, [])
    assert torch.equal(clean.robust, alone.robust)


def test_a_net_as_its_own_source_stands_no_more_than_where_an_iterate_counts(net, split):
    white = list(evaluate(net, split, NAMES, HOW))
    transferred = rows_of(net, net, split)
    for here, there in zip(white, transferred, strict=True):
        assert (there.robust | ~here.robust).all()
    assert torch.equal(white[1].robust, transferred[1].robust)  # FGSM's one image is its end


def test_a_net_without_gradients_can_be_shown_images_of_another(net, source, split):
    def blind(images):
        return net(images).detach()

    assert [row.accuracy for row in rows_of(blind, source, split)] == [
        row.accuracy for row in rows_of(net, source, split)
    ]


def test_the_images_and_verdicts_told_of_are_those_of_the_net(net, source, split):
    def attacked(name, part, images, broken):
        assert torch.equal(net(images).argmax(1) != part.labels, broken)
        assert THREAT.allows(images, to_float(part.images, channels_last=False)).all()

    rows_of(net, source, split, on_images=attacked)
