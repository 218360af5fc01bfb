"""Laws of going on: what was stopped anywhere ends as what was not, and does nothing twice."""

import copy

import pytest
import torch

import attacks
from attacks import Bookmark, ThreatModel
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate
from robust_tickets.evaluation.sanity_checks import sanity_checks
from robust_tickets.evaluation.verdict_matrix import VerdictMatrix

THREAT = ThreatModel("Linf", 0.03)
HOW = EvaluationConfig(THREAT, batch=4)
ATTACKS = ["fgsm", "pgd(steps=2, restarts=2)", "apgd(steps=4)", "two", "square(queries=5)"]
NAMES = ["fgsm", "pgd(steps=2, restarts=2)", "square(queries=5)"]
ABOUT = {"checkpoint": "abc", "eps": "0.03", "batch": 4}


def rows_of(net, split, verdicts, names=NAMES, how=HOW, **more):
    return list(evaluate(net, split, names, how, verdicts=verdicts, **more))


def opened(split, file, about=ABOUT) -> VerdictMatrix:
    return VerdictMatrix(split.ids, split.labels, file, about)


def what(rows):
    """All of the rows that does not hang on the clock."""
    return [(r.attack, r.standing.tolist(), r.forwards, r.backwards, r.settings, r.broken_by) for r in rows]


class Stopping:
    """Raises as soon as so many chunks are done; notes the samples of each."""

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


def test_wherever_it_stops_between_chunks_nothing_is_done_twice(net, split, counted, uninterrupted, tmp_path):
    rows, chunks = uninterrupted
    total = (sum(r.forwards for r in rows), sum(r.backwards for r in rows))
    assert chunks > 9
    for after in range(1, chunks + 1):
        watched, file = counted(net), tmp_path / f"{after}.npz"
        with pytest.raises(KeyboardInterrupt):
            rows_of(watched, split, opened(split, file), advance=Stopping(after))
        again = rows_of(watched, split, opened(split, file))
        assert what(again) == what(rows), after
        assert watched.passes == total, after


def test_wherever_it_stops_inside_a_chunk_only_that_chunk_is_done_again(
    net, split, counted, uninterrupted, tmp_path
):
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
            rows_of(dying, split, opened(split, file))
        known = opened(split, file)
        done = sum(column.forwards for column in known.columns.values())
        assert what(rows_of(second, split, known)) == what(rows), call
        assert second.forwards == total - done, call


def test_what_is_done_already_is_told_of_at_once(net, split, tmp_path):
    rows_of(net, split, opened(split, tmp_path / "v.npz"))
    told = []
    rows_of(net, split, opened(split, tmp_path / "v.npz"), advance=lambda n, p, _: told.append((n, p.total)))
    assert told == [(len(split), 0)] * (len(NAMES) + 1)


def test_a_whole_evaluation_asks_the_net_no_more(net, split, counted, uninterrupted, tmp_path):
    rows_of(net, split, opened(split, tmp_path / "v.npz"))
    watched = counted(net)
    assert what(rows_of(watched, split, opened(split, tmp_path / "v.npz"))) == what(uninterrupted[0])
    assert watched.sizes == []


def test_another_attack_is_added_and_the_others_are_kept(net, split, counted, uninterrupted, tmp_path):
    rows_of(net, split, opened(split, tmp_path / "v.npz"), names=NAMES[:1])
    watched = counted(net)
    rows = rows_of(watched, split, opened(split, tmp_path / "v.npz"))
    assert what(rows) == what(uninterrupted[0])
    assert watched.passes == (sum(r.forwards for r in rows[2:]), sum(r.backwards for r in rows[2:]))
    assert list(opened(split, tmp_path / "v.npz").columns) == ["clean", *NAMES]


def test_an_attack_that_is_built_differently_now_is_run_anew(net, split, counted, monkeypatch, tmp_path):
    file = tmp_path / "v.npz"
    before = rows_of(net, split, opened(split, file), names=["fgsm", "pgd-2"])
    watched = counted(net)
    longer = EvaluationConfig(THREAT, rel_step=0.5, batch=4)
    after = rows_of(watched, split, opened(split, file), names=["fgsm", "pgd-2"], how=longer)
    assert what(after[:2]) == what(before[:2])
    assert what(after[2:]) == what(rows_of(net, split, None, ["pgd-2"], longer)[1:]) != what(before[2:])
    assert watched.passes == (after[2].forwards, after[2].backwards)


def test_what_an_ensemble_broke_is_kept_too(net, split, monkeypatch, tmp_path):
    def two(text, threat, rel_step):
        return attacks.Ensemble([attacks.Square(threat, queries=2), attacks.FGSM(threat)], ("box", "white"))

    monkeypatch.setattr("robust_tickets.evaluation.attack_sets.parse", two)
    (_, whole) = rows_of(net, split, None, ["two"])
    assert set(whole.broken_by) == {"box", "white"}
    assert min(whole.broken_by.values()) > 0
    with pytest.raises(KeyboardInterrupt):
        rows_of(net, split, opened(split, tmp_path / "v.npz"), ["two"], advance=Stopping(5))
    rows = rows_of(net, split, opened(split, tmp_path / "v.npz"), ["two"])
    assert what(rows[1:]) == what([whole])


def test_a_transfer_attack_goes_on_too(net, split, tmp_path):
    other = type(net)(seed=1).eval()
    whole = rows_of(net, split, None, source=other)
    with pytest.raises(KeyboardInterrupt):
        rows_of(net, split, opened(split, tmp_path / "v.npz"), source=other, advance=Stopping(10))
    assert what(rows_of(net, split, opened(split, tmp_path / "v.npz"), source=other)) == what(whole)


def test_a_foreign_attack_that_draws_numbers_goes_on_as_it_began(net, split, tmp_path):
    """Its generators are seeded by block, and the blocks are the same ones again."""
    small, names = copy.deepcopy(net.layers).float(), ["torchattacks:PGD(steps=1)"]
    whole = rows_of(small, split, None, names)
    for after in (4, 5):
        file = tmp_path / f"{after}.npz"
        with pytest.raises(KeyboardInterrupt):
            rows_of(small, split, opened(split, file), names, advance=Stopping(after))
        assert what(rows_of(small, split, opened(split, file), names)) == what(whole)


OTHERS = {
    "about": lambda s: (s.ids, s.labels, ABOUT | {"eps": "0.04"}),
    "less about": lambda s: (s.ids, s.labels, {}),
    "ids": lambda s: (s.ids + 1, s.labels, ABOUT),
    "order": lambda s: (s.ids.flip(0), s.labels.flip(0), ABOUT),
    "fewer": lambda s: (s.ids[:-1], s.labels[:-1], ABOUT),
    "labels": lambda s: (s.ids, (s.labels + 1) % 5, ABOUT),
}


@pytest.mark.parametrize("case", OTHERS)
def test_the_file_of_another_evaluation_is_refused_in_words(case, net, split, tmp_path):
    file = tmp_path / "v.npz"
    rows_of(net, split, opened(split, file), names=["fgsm"])
    ids, labels, about = OTHERS[case](split)
    with pytest.raises(InputError) as raised:
        VerdictMatrix(ids, labels, file, about)
    expected = f"cannot read {file} (it is of another evaluation): remove it and evaluate again"
    assert str(raised.value) == expected


def test_seconds_add_up_over_the_parts(net, split, tmp_path):
    file = tmp_path / "v.npz"
    with pytest.raises(KeyboardInterrupt):
        rows_of(net, split, opened(split, file), advance=Stopping(5))
    before = opened(split, file).columns["fgsm"].seconds
    after = rows_of(net, split, opened(split, file))[1].seconds
    assert 0 < before < after


def test_without_a_file_nothing_is_kept(net, split, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows_of(net, split, VerdictMatrix(split.ids, split.labels), names=["fgsm"])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def two(monkeypatch):
    """An ensemble among the attacks."""
    real = attacks.parse

    def parse(text, threat, rel_step):
        if text == "two":
            return attacks.Ensemble([attacks.Square(threat, queries=2), attacks.PGD(threat, steps=2)])
        return real(text, threat, rel_step=rel_step)

    monkeypatch.setattr("robust_tickets.evaluation.attack_sets.parse", parse)


def taken(run):
    """A copy of the states at each offer."""
    states = []
    run(Bookmark(offer=lambda now: states.append(copy.deepcopy(now()))))
    return states


@pytest.mark.parametrize("transfer", [False, True], ids=["direct", "transfer"])
def test_from_any_step_the_rows_are_the_same_and_nothing_is_done_twice(transfer, two, net, split, counted):
    source = type(net)(seed=1).eval() if transfer else None
    whole = rows_of(net, split, None, ATTACKS, source=source)
    states = taken(lambda mark: rows_of(net, split, None, ATTACKS, source=source, mark=mark))
    assert len(states) > 60
    for levels in states[::2]:
        kept, watched = copy.deepcopy(levels), counted(net)
        of_source = counted(source) if transfer else watched
        rows = rows_of(
            watched, split, None, ATTACKS, source=of_source if transfer else None, mark=Bookmark(kept)
        )
        assert what(rows) == what(whole)
        done = sum(column["forwards"] for column in levels[0]["columns"])
        # the level of the chunk, that of a transfer, that of the attack's run
        done += sum(level.get("forwards", 0) + level.get("source_forwards", 0) for level in levels[1:])
        made = watched.forwards + (of_source.forwards if transfer else 0)
        assert made == sum(row.forwards for row in whole) - done


def test_verdicts_that_know_more_than_the_mark_stay(two, net, split, counted, tmp_path):
    """A chunk was done, and then the process died before the state from within it was removed."""
    whole = rows_of(net, split, opened(split, tmp_path / "v.npz"), ATTACKS)
    for levels in taken(lambda mark: rows_of(net, split, None, ATTACKS, mark=mark))[::10]:
        watched = counted(net)
        rows = rows_of(watched, split, opened(split, tmp_path / "v.npz"), ATTACKS, mark=Bookmark(levels))
        assert what(rows) == what(whole)
        assert watched.forwards == 0


def test_a_mark_within_another_attack_is_not_taken(net, split):
    states = taken(lambda mark: rows_of(net, split, None, ["pgd-3"], mark=mark))
    for levels in states[::4]:
        rows = rows_of(net, split, None, ["pgd-2"], mark=Bookmark(levels))
        assert what(rows) == what(rows_of(net, split, None, ["pgd-2"]))


def test_seconds_go_on_too(net, split):
    levels = taken(lambda mark: rows_of(net, split, None, ["pgd-3"], mark=mark))[-1]
    levels[1]["seconds"] += 1000.0
    assert 1000 < rows_of(net, split, None, ["pgd-3"], mark=Bookmark(levels))[1].seconds < 2000


def test_the_checks_go_on_from_any_step(net, split, counted):
    whole = sanity_checks(net, split, HOW)
    states = taken(lambda mark: sanity_checks(net, split, HOW, mark=mark))
    assert len(states) > 300
    last = counted(net)
    assert sanity_checks(last, split, HOW, mark=Bookmark(states[-1])) == whole
    assert last.forwards < whole.passes.forward / 10
    for levels in states[5::29]:
        assert sanity_checks(net, split, HOW, mark=Bookmark(levels)) == whole
