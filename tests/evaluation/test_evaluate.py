"""Evaluation: verdicts are the attacks' own, whatever the batches; a sample that breaks early is cheap."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from robust_tickets import attacks
from robust_tickets.attacks import ThreatModel
from robust_tickets.attacks.text import parse
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.data.batches import to_float
from robust_tickets.evaluation.attack_names import expand_attacks
from robust_tickets.evaluation.attack_sets import SETS
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate
from robust_tickets.evaluation.result import worst_case
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix

THREAT = ThreatModel("Linf", 0.03)
THREATS = {"Linf": THREAT, "L2": ThreatModel("L2", 0.2)}
NAMES = ["fgsm", "pgd-4", "pgd(steps=2, restarts=3)", "apgd(steps=6, loss='dlr')", "square(queries=12)"]


def rows_of(net, split, names, config=None, **more):
    return list(evaluate(net, split, names, config or EvaluationConfig(THREAT, batch=16), **more))


def images_of(split) -> Tensor:
    return to_float(split.images, channels_last=False)


def right(net, split) -> Tensor:
    with torch.no_grad():
        return net(images_of(split)).argmax(1) == split.labels


@pytest.mark.parametrize("norm", THREATS)
def test_verdicts_are_those_of_each_attack_run_to_its_end(norm, net, split):
    threat = THREATS[norm]
    rows = rows_of(net, split, NAMES, EvaluationConfig(threat, batch=16, seed=3))
    clean = right(net, split)
    assert torch.equal(rows[0].robust, clean)
    assert [row.attack for row in rows] == ["clean", *NAMES]
    for row, name in zip(rows[1:], NAMES, strict=True):
        attack = parse(name, threat, rel_step=0.25)
        whole = attack.run(net, images_of(split), split.labels, sample_ids=split.ids, seed=3)
        assert torch.equal(row.robust, clean & ~whole.broken), name
        assert 0 < int(row.robust.sum()) < int(clean.sum()), name


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [1, 7, 250])
def test_batch_order_and_layout_change_no_verdict(batch, channels_last, net, split):
    rows = rows_of(net, split, NAMES)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))
    config = EvaluationConfig(THREAT, batch=batch, channels_last=channels_last)
    for row, other in zip(rows, rows_of(net, split.take(order), NAMES, config), strict=True):
        assert torch.equal(row.robust[order], other.robust)


def test_seed_and_step_size_reach_the_attacks(net, split):
    config = EvaluationConfig(THREAT, batch=16)
    robust = [
        rows_of(net, split, ["pgd-1"], each)[1].robust
        for each in (config, replace(config, seed=1), replace(config, rel_step=1.0))
    ]
    assert not torch.equal(robust[0], robust[1])
    assert int(robust[2].sum()) < int(robust[0].sum())


def test_in_float32_hardly_a_verdict_depends_on_the_batch(net, split):
    """Kernels round differently in other blocks; a verdict that changes is at the edge of its class."""
    small = copy.deepcopy(net.layers).float()
    generator = torch.Generator().manual_seed(3)
    many = replace(split, images=torch.randint(256, (1000, 3, 6, 6), generator=generator, dtype=torch.uint8))
    with torch.no_grad():
        logits = small(images_of(many))
    many = replace(many, labels=logits.argmax(1), ids=torch.arange(1000))
    robust_by_batch = {}
    for batch in (250, 64, 32, 7):
        rows = rows_of(small, many, ["pgd-4", "apgd(steps=4)"], EvaluationConfig(THREAT, batch=batch))
        robust_by_batch[batch] = torch.stack([row.robust for row in rows])
    two = logits.topk(2, dim=1).values
    assert 0.1 < float(robust_by_batch[250][1].double().mean()) < 0.9
    for batch, robust in robust_by_batch.items():
        other = (robust != robust_by_batch[250]).any(0)
        margins = (two[:, 0] - two[:, 1])[other].tolist()
        assert int(other.sum()) <= 2, f"batch {batch}: clean margins of the samples that differ: {margins}"


def test_passes_are_the_networks_and_reported_chunk_by_chunk(net, split, counted):
    watched, reported, samples = counted(net), Passes(), []

    def advance(n: int, passes: Passes, _: Passes) -> None:
        samples.append(n)
        reported.add(passes)

    rows = rows_of(watched, split, NAMES, advance=advance)
    total = (sum(r.forwards for r in rows), sum(r.backwards for r in rows))
    assert total == watched.passes == (reported.forward, reported.input_backward)
    assert max(watched.sizes) == 16  # the batch
    assert set(watched.sizes) <= {16, 8, 4, 2}
    assert sum(samples) == len(split) * len(rows)
    assert worst_case(rows).passes == reported


def test_a_network_that_breaks_everywhere_costs_far_less(net, split, counted):
    costs = []
    for eps in (1e-6, 0.03, 0.5):
        watched = counted(net)
        rows = rows_of(watched, split, ["pgd-10"], EvaluationConfig(ThreatModel("Linf", eps), batch=4))
        costs.append((rows[1].accuracy, rows[1].passes.total))
    assert costs == sorted(costs, reverse=True)
    assert costs[-1][0] == 0
    assert costs[0][1] > 5 * costs[-1][1]


def test_a_sample_that_is_wrong_when_clean_is_never_attacked(net, split):
    wrong = ~right(net, split)
    assert 0 < int(wrong.sum()) < len(split)
    parts = []
    rows = rows_of(net, split, NAMES, on_images=lambda name, part, images, broken: parts.append(part.ids))
    ids = torch.cat(parts)
    assert not torch.isin(split.ids[wrong], ids).any()
    assert all(int((ids == i).sum()) == len(NAMES) for i in split.ids[~wrong])
    assert not any(row.robust[wrong].any() for row in rows)


def test_the_images_of_broken_samples_break_them(net, split):
    seen = {}

    def attacked(name, part, images, broken):
        assert THREAT.allows(images, images_of(part)).all()
        assert torch.equal(net(images).argmax(1) != part.labels, broken)
        seen.setdefault(name, []).append((part.ids, broken))

    rows = rows_of(net, split, NAMES, on_images=attacked)
    assert list(seen) == NAMES
    for row in rows[1:]:
        ids, broken = (torch.cat(parts) for parts in zip(*seen[row.attack], strict=True))
        assert set(ids[~broken].tolist()) == set(split.ids[row.robust].tolist())


def test_sets_are_expanded_and_each_attack_comes_once():
    assert expand_attacks([]) == ("clean",)
    assert expand_attacks(["quick"]) == SETS["quick"] == ("clean", "fgsm", "pgd-20")
    first, *rest = expand_attacks(["pgd-20", "standard", "fgsm", "quick", "clean"])
    assert (first, rest[0]) == ("clean", "pgd-20")
    assert sorted([first, *rest]) == sorted(SETS["standard"])


def test_an_attack_in_other_words_is_run_once_under_its_one_spelling(net, split):
    names = [" fgsm ", "clean", "apgd( steps=1 )", "pgd-4", "fgsm()", "pgd(restarts=1, steps=4)"]
    rows = rows_of(net, split.take(torch.arange(4)), names)
    assert [row.attack for row in rows] == ["clean", "fgsm", "apgd(steps=1)", "pgd-4"]
    assert rows[2].settings == "steps=1 loss='ce' restarts=1 rho=0.75"


def test_an_error_names_its_attack(net, split):
    def cut(images):
        return net(images).detach()

    with pytest.raises(attacks.InputError, match="attack pgd-2: the network has no gradient"):
        rows_of(cut, split, ["pgd-2"])


def test_an_unknown_attack_is_refused_before_the_network_runs(net, split, counted):
    watched = counted(net)
    for names, message in ((["fgsm", "pdg-3"], "unknown attack 'pdg-3'"), (["apgd(steps=0)"], "at least 1")):
        with pytest.raises(InputError, match=message):
            rows_of(watched, split, names)
    assert watched.sizes == []


def test_a_network_that_gives_nan_is_refused_and_earlier_chunks_are_kept(net, split):
    left, config = [3], EvaluationConfig(THREAT, batch=8)

    def dying(images: Tensor) -> Tensor:  # gives NaN under its fourth attack's chunk
        return net(images) * (float("nan") if images.requires_grad and not left[0] else 1)

    def advance(samples: int, passes: Passes, _: Passes) -> None:
        left[0] -= passes.input_backward > 0

    verdicts, names = VerdictMatrix(split.ids, split.labels), ["fgsm", "pgd-4"]
    with pytest.raises(attacks.InputError, match="NaN logits"):
        rows_of(dying, split, names, config, verdicts=verdicts, advance=advance)
    clean, fgsm, _ = rows_of(net, split, names, config)
    assert len(verdicts.columns["fgsm"].open_rows) == 0
    assert torch.equal(verdicts.columns["fgsm"].row().robust, fgsm.robust)
    assert torch.equal(verdicts.columns["pgd-4"].verdicts == -1, clean.robust)  # no chunk of it was done


def test_a_network_that_is_nan_when_clean_is_never_robust(net, split):
    verdicts = VerdictMatrix(split.ids, split.labels)
    with pytest.raises(attacks.InputError, match="NaN logits"):
        rows_of(lambda x: net(x) * float("nan"), split, ["fgsm"], verdicts=verdicts)
    assert len(verdicts.columns["clean"].open_rows) == len(split)


def test_images_outside_the_ball_are_counted_in_the_row_and_break_nothing(net, split):
    small = copy.deepcopy(net.layers).float()
    name = "torchattacks:CW(c=10, steps=20, lr=0.1)"
    threat = ThreatModel("Linf", 1e-4)
    clean, row = rows_of(small, split, [name], EvaluationConfig(threat, batch=4))
    taken = split.take(clean.robust.nonzero()[:, 0])
    direct = parse(name, threat).run(small, images_of(taken), taken.labels, seed=0)
    assert row.attack == name
    assert row.outside == direct.outside > 8  # of several chunks
    assert torch.equal(row.robust, clean.robust)
    assert row.settings == "name='CW' c=10 kappa=0 steps=20 lr=0.1"


def test_an_ensemble_counts_the_samples_that_each_member_broke(net, split, monkeypatch):
    def two(text, threat, rel_step):
        square = attacks.Square(threat, queries=2)
        return attacks.Ensemble([square, attacks.PGD(threat, steps=4)], ("box", "white"))

    monkeypatch.setattr("robust_tickets.evaluation.attack_names.parse", two)
    clean, row = rows_of(net, split, ["autoattack"])
    apart = [
        a.run(net, images_of(split), split.labels, sample_ids=split.ids, seed=0).broken & clean.robust
        for a in two("", THREAT, 0.25).attacks
    ]
    later = int((apart[1] & ~apart[0]).sum())
    assert 0 < later < int(apart[1].sum())
    assert row.broken_by == {"box": int(apart[0].sum()), "white": later}
    assert torch.equal(row.robust, clean.robust & ~apart[0] & ~apart[1])
