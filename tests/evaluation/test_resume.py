"""A stopped evaluation: run again it gives the same rows, and repeats one chunk at most."""

import copy

import pytest
import torch

from robust_tickets import attacks
from robust_tickets.attacks import ThreatModel
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix

THREAT = ThreatModel("Linf", 0.03)
CONFIG = EvaluationConfig(THREAT, batch=4)
NAMES = ["fgsm", "pgd(steps=2, restarts=2)", "square(queries=5)"]
ABOUT = {"checkpoint": "abc", "eps": "0.03", "batch": 4}


def rows_of(net, split, verdicts, names=NAMES, config=CONFIG, **more):
    return list(evaluate(net, split, names, config, verdicts=verdicts, **more))


def matrix(split, file, about=ABOUT) -> VerdictMatrix:
    return VerdictMatrix(split.ids, split.labels, file, about)


def without_seconds(rows):
    """The rows without what depends on the clock."""
    return [(r.attack, r.robust.tolist(), r.forwards, r.backwards, r.settings, r.broken_by) for r in rows]


class Stopping:
    """Raises as soon as so many chunks are done."""

    def __init__(self, after: int) -> None:
        self.after, self.done = after, 0

    def __call__(self, samples: int, passes: Passes, of_source: Passes) -> None:
        self.done += passes.total > 0
        if self.done == self.after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def split(split):
    return split.take(torch.arange(22))


@pytest.fixture(scope="module")
def uninterrupted(net, split):
    count = Stopping(-1)
    rows = rows_of(net, split, None, advance=count)
    return rows, count.done


def test_stopped_between_chunks_nothing_is_repeated(net, split, counted, uninterrupted, tmp_path):
    rows, chunks = uninterrupted
    total = (sum(r.forwards for r in rows), sum(r.backwards for r in rows))
    assert chunks > 9
    for after in range(1, chunks + 1):
        watched, file = counted(net), tmp_path / f"{after}.npz"
        with pytest.raises(KeyboardInterrupt):
            rows_of(watched, split, matrix(split, file), advance=Stopping(after))
        again = rows_of(watched, split, matrix(split, file))
        assert without_seconds(again) == without_seconds(rows), after
        assert watched.passes == total, after


def test_stopped_within_a_chunk_that_chunk_alone_is_repeated(net, split, counted, uninterrupted, tmp_path):
    rows, _ = uninterrupted
    total = sum(r.forwards for r in rows)
    watched = counted(net)
    rows_of(watched, split, None)
    for call in range(0, len(watched.sizes), 7):
        left = [call]

        def dying(images, left=left):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return net(images)

        file, second = tmp_path / f"{call}.npz", counted(net)
        with pytest.raises(KeyboardInterrupt):
            rows_of(dying, split, matrix(split, file))
        verdicts = matrix(split, file)
        done = sum(column.forwards for column in verdicts.columns.values())
        assert without_seconds(rows_of(second, split, verdicts)) == without_seconds(rows), call
        assert second.forwards == total - done, call


def test_a_finished_evaluation_runs_the_network_no_more(net, split, counted, uninterrupted, tmp_path):
    rows_of(net, split, matrix(split, tmp_path / "v.npz"))
    watched, reported = counted(net), []

    def advance(samples: int, passes: Passes, of_source: Passes) -> None:
        reported.append((samples, passes.total))

    again = rows_of(watched, split, matrix(split, tmp_path / "v.npz"), advance=advance)
    assert without_seconds(again) == without_seconds(uninterrupted[0])
    assert watched.sizes == []
    assert reported == [(len(split), 0)] * (len(NAMES) + 1)


def test_an_attack_is_added_and_the_others_are_kept(net, split, counted, uninterrupted, tmp_path):
    rows_of(net, split, matrix(split, tmp_path / "v.npz"), names=NAMES[:1])
    watched = counted(net)
    rows = rows_of(watched, split, matrix(split, tmp_path / "v.npz"))
    assert without_seconds(rows) == without_seconds(uninterrupted[0])
    assert watched.passes == (sum(r.forwards for r in rows[2:]), sum(r.backwards for r in rows[2:]))
    assert list(matrix(split, tmp_path / "v.npz").columns) == ["clean", *NAMES]


def test_an_attack_of_other_settings_is_run_again(net, split, counted, monkeypatch, tmp_path):
    file = tmp_path / "v.npz"
    before = rows_of(net, split, matrix(split, file), names=["fgsm", "pgd-2"])
    watched = counted(net)
    longer = EvaluationConfig(THREAT, rel_step=0.5, batch=4)
    after = rows_of(watched, split, matrix(split, file), names=["fgsm", "pgd-2"], config=longer)
    assert without_seconds(after[:2]) == without_seconds(before[:2])
    assert (
        without_seconds(after[2:])
        == without_seconds(rows_of(net, split, None, ["pgd-2"], longer)[1:])
        != without_seconds(before[2:])
    )
    assert watched.passes == (after[2].forwards, after[2].backwards)


def two(text, threat, rel_step):
    return attacks.Ensemble([attacks.Square(threat, queries=2), attacks.FGSM(threat)], ("box", "white"))


@pytest.mark.parametrize("after", [4, 5])
@pytest.mark.parametrize("kind", ["ensemble", "transfer", "third party that draws numbers"])
def test_other_kinds_of_attacks_resume_too(kind, after, net, split, monkeypatch, tmp_path):
    names, more = NAMES, {}
    if kind == "ensemble":  # with the numbers of samples that its members broke
        monkeypatch.setattr("robust_tickets.evaluation.attack_names.parse", two)
        names = ["two"]
    elif kind == "transfer":
        more = {"source": type(net)(seed=1).eval()}
    else:  # whose generators are seeded by block
        net, names = copy.deepcopy(net.layers).float(), ["torchattacks:PGD(steps=1)"]
    whole = rows_of(net, split, None, names, **more)
    assert kind != "ensemble" or min(whole[1].broken_by.values()) > 0
    with pytest.raises(KeyboardInterrupt):
        rows_of(net, split, matrix(split, tmp_path / "v.npz"), names, advance=Stopping(after), **more)
    again = rows_of(net, split, matrix(split, tmp_path / "v.npz"), names, **more)
    assert without_seconds(again) == without_seconds(whole)


OTHERS = {
    "about": lambda s: (s.ids, s.labels, ABOUT | {"eps": "0.04"}),
    "order": lambda s: (s.ids.flip(0), s.labels.flip(0), ABOUT),
    "fewer": lambda s: (s.ids[:-1], s.labels[:-1], ABOUT),
    "labels": lambda s: (s.ids, (s.labels + 1) % 5, ABOUT),
}


@pytest.mark.parametrize("case", OTHERS)
def test_the_file_of_another_evaluation_is_refused_in_words(case, net, split, tmp_path):
    file = tmp_path / "v.npz"
    rows_of(net, split, matrix(split, file), names=["fgsm"])
    ids, labels, about = OTHERS[case](split)
    with pytest.raises(InputError) as raised:
        VerdictMatrix(ids, labels, file, about)
    expected = f"cannot read {file} (it is of another evaluation): remove it and evaluate again"
    assert str(raised.value) == expected


def test_seconds_add_up_over_the_parts(net, split, tmp_path):
    file = tmp_path / "v.npz"
    with pytest.raises(KeyboardInterrupt):
        rows_of(net, split, matrix(split, file), advance=Stopping(5))
    before = matrix(split, file).columns["fgsm"].seconds
    after = rows_of(net, split, matrix(split, file))[1].seconds
    assert 0 < before < after
