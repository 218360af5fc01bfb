"""AutoAttack's first two members alone, and then the whole of it, which takes over their verdicts."""

import pytest
import torch

from robust_tickets.attacks import APGD, PGD, APGDTargeted, Ensemble, Square, ThreatModel
from robust_tickets.attacks.text import BUILDERS
from robust_tickets.evaluation import chunks
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix

CONFIG = EvaluationConfig(ThreatModel("Linf", 0.03), batch=8)
APART = ("apgd(steps=2)", "apgd-t(steps=2, targets=2)")


def weak_pair(threat: ThreatModel) -> Ensemble:
    members = [Square(threat, queries=5), Square(threat, queries=30, p=0.3)]
    return Ensemble(members, names=("apgd-ce", "apgd-t"))


def weak_whole(threat: ThreatModel) -> Ensemble:
    pair = weak_pair(threat)
    rest = [PGD(threat, steps=2, rel_step=0.35, random_start=False), APGD(threat, steps=2)]
    return Ensemble([*pair.attacks, *rest], (*pair.names, "fab-t", "square"))


@pytest.fixture(autouse=True, scope="module")
def weak():
    """Short members, each of which breaks more than those before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUILDERS, "aa-apgd", weak_pair)
        patch.setitem(BUILDERS, "autoattack", weak_whole)
        yield


def rows_of(net, split, names, verdicts=None, **more):
    rows = evaluate(net, split, names, CONFIG, verdicts=verdicts, **more)
    return {row.attack: row for row in rows}


def matrix(split, file=None):
    return VerdictMatrix(split.ids, split.labels, file, {"about": "this"})


@pytest.fixture(scope="module")
def alone(net, split, weak):
    """The row of the whole attack that takes nothing over."""
    row = rows_of(net, split, ["autoattack"])["autoattack"]
    assert all(row.broken_by.values()), "each member breaks some"
    return row


def test_the_pair_is_the_worst_case_of_its_members_apart(net, split, monkeypatch):
    def short_pair(threat):
        members = [APGD(threat, steps=2), APGDTargeted(threat, steps=2, targets=2)]
        return Ensemble(members, names=("apgd-ce", "apgd-t"))

    monkeypatch.setitem(BUILDERS, "aa-apgd", short_pair)
    rows = rows_of(net, split, ["aa-apgd", *APART])
    assert torch.equal(rows["aa-apgd"].robust, rows[APART[0]].robust & rows[APART[1]].robust)
    assert len({int(row.robust.sum()) for row in rows.values()}) > 2, "the members differ"
    assert rows["aa-apgd"].forwards < sum(rows[name].forwards for name in APART)


def test_the_whole_runs_only_what_is_left_and_ends_as_if_it_had_run_all(net, split, counted, alone):
    verdicts = matrix(split)
    pair = rows_of(net, split, ["aa-apgd"], verdicts)["aa-apgd"]
    counting = counted(net)
    whole = rows_of(counting, split, ["autoattack"], verdicts)["autoattack"]
    assert torch.equal(whole.robust, alone.robust)
    assert not (whole.robust & ~pair.robust).any(), "the pair is never below the whole"
    assert int(whole.robust.sum()) < int(pair.robust.sum())
    assert whole.broken_by == alone.broken_by
    assert whole.settings == alone.settings
    added = (whole.forwards - pair.forwards, whole.backwards - pair.backwards)
    assert counting.passes == added, "its row has what the pair took, and what was added"
    assert whole.seconds > pair.seconds > 0
    assert counting.passes[0] < alone.forwards


def test_stopped_within_what_is_left_it_ends_the_same(net, split, alone, monkeypatch, tmp_path):
    monkeypatch.setattr("robust_tickets.evaluation.evaluate.chunk_size", lambda *_: chunks._FEWEST)
    results = []
    for name, stops in (("whole", ()), ("stopped", (1, 2))):
        file = tmp_path / f"{name}.npz"
        rows_of(net, split, ["aa-apgd"], matrix(split, file))
        for after in stops:
            done = [0]

            def stop(samples, passes, of_source, done=done, after=after):
                done[0] += passes.total > 0
                if done[0] == after:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                rows_of(net, split, ["autoattack"], matrix(split, file), advance=stop)
        results.append(rows_of(net, split, ["autoattack"], matrix(split, file))["autoattack"])
    whole, stopped = results
    assert torch.equal(whole.robust, alone.robust)
    assert torch.equal(stopped.robust, whole.robust)
    assert (stopped.forwards, stopped.backwards) == (whole.forwards, whole.backwards)
    assert stopped.broken_by == whole.broken_by == alone.broken_by


def test_an_unfinished_pair_or_one_with_other_settings_gives_nothing(net, split, monkeypatch):
    verdicts = matrix(split)
    rows_of(net, split, ["aa-apgd"], verdicts)
    column = verdicts.column("autoattack", "other=1 settings=2", list(weak_whole(CONFIG.threat).names))
    assert verdicts.take_over(column) == 0
    open_column = verdicts.columns["aa-apgd"]
    open_column.verdicts[0] = -1
    names = list(weak_whole(CONFIG.threat).names)
    column = verdicts.column("autoattack", f"{open_column.settings} square=1", names)
    assert verdicts.take_over(column) == 0
    open_column.verdicts[0] = 0
    assert verdicts.take_over(column) == 2


def test_with_adversarial_images_all_members_are_run(net, split):
    verdicts, images = matrix(split), []
    rows_of(net, split, ["aa-apgd"], verdicts)
    rows_of(net, split, ["autoattack"], verdicts, on_images=lambda name, *rest: images.append(rest[1]))
    right = int((verdicts.columns["clean"].verdicts == 1).sum())
    assert sum(map(len, images)) == right
