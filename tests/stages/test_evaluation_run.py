"""A stopped evaluation ends with the same files, which are kept, added to, and apart where inputs differ."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pytest
from evaluation_case import FGSM, SANITY, SILENT, evaluate, results, verdicts

from robust_tickets import attacks
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress, StageProgress
from robust_tickets.evaluation import chunks, sanity_checks
from robust_tickets.evaluation.sanity_report import SanityReport
from robust_tickets.evaluation.verdict_matrix import ROBUST, UNKNOWN
from robust_tickets.models.fold import FoldedNet
from robust_tickets.recipe.eps import Eps
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import evaluate as stage
from robust_tickets.stages.evaluate import evaluate_file
from robust_tickets.stages.experiment import Experiment

pytestmark = pytest.mark.usefixtures("no_sanity")


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    """Chunks of eight samples: five of them in each attack on forty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(chunks.CHUNK_FLOPS, "cpu", 0)
        yield


@pytest.fixture(scope="module")
def whole(checkpoint, no_sanity, tmp_path_factory):
    """The files of an evaluation that nothing stops."""
    file = shutil.copy(checkpoint, tmp_path_factory.mktemp("whole") / checkpoint.name)
    evaluate(file)
    return results(file.parent)


@pytest.fixture
def stop(monkeypatch):
    """Let the network raise KeyboardInterrupt at its k-th call; returns the count of calls."""
    calls = [0]
    real = FoldedNet.forward

    def after(k: int | None) -> list[int]:
        calls[0] = 0

        def forward(net, images):
            calls[0] += 1
            if calls[0] == k:
                raise KeyboardInterrupt
            return real(net, images)

        monkeypatch.setattr(FoldedNet, "forward", forward)
        return calls

    return after


def test_stopped_at_any_block_it_ends_the_same(new_copy, stop, whole):
    count = stop(None)
    evaluate(new_copy("counted"))
    total = count[0]
    assert total > 150
    for k in (1, 20, total // 2, total - 1):
        file = new_copy(f"stopped-at-{k}")
        stop(k)
        with pytest.raises(KeyboardInterrupt):
            evaluate(file)
        again = stop(None)
        evaluate(file)
        assert results(file.parent) == whole, k
        assert again[0] <= total - k + 1 + 40, "one chunk at most is attacked twice"


def test_killed_before_its_ledger_the_next_command_writes_it(tiny_recipe, new_copy, stop):
    file, experiment = new_copy("killed"), Experiment(tiny_recipe)
    stage.evaluate(file, experiment)
    ledger = ArmDirectory(file.parent).evaluation_ledger(file)
    passes = read_json(ledger)["passes"]
    ledger.unlink()
    calls = stop(None)
    stage.evaluate(file, experiment)
    assert read_json(ledger)["passes"] == passes
    assert calls[0] < 10, "its FLOPs are counted, and nothing is attacked again"


KILLED = """
import os, signal, sys
from pathlib import Path
from robust_tickets import attacks
import robust_tickets.attacks.square
from evaluation_case import evaluate
from robust_tickets.evaluation import chunks

queries, window_share = [0], attacks.square.window_share

def dying(*arguments):
    queries[0] += 1
    if queries[0] == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return window_share(*arguments)

attacks.square.window_share = dying
chunks.CHUNK_FLOPS["cpu"] = 0
evaluate(Path(sys.argv[1]))
"""


def test_killed_within_a_chunk_it_ends_the_same(new_copy, whole):
    """In the second chunk of Square, at its fifth change of a window; a chunk has seven."""
    file = new_copy("killed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", KILLED, str(file)], env=environment)
    assert process.returncode == -signal.SIGKILL
    square = verdicts(file.parent, 2)
    assert 0 < (square == UNKNOWN).sum() < 40
    evaluate(file)
    assert results(file.parent) == whole


def test_rows_are_on_disk_as_soon_as_their_attack_is_done(new_copy, monkeypatch, whole):
    file, real, runs = new_copy("failing"), attacks.Square._run, [0]

    def second_fails(attack, *arguments):
        runs[0] += 1
        if runs[0] == 2:
            raise attacks.InputError("the network gave up")
        return real(attack, *arguments)

    monkeypatch.setattr(attacks.Square, "_run", second_fails)
    with pytest.raises(attacks.InputError, match="gave up"):
        evaluate(file)
    rows = pd.read_csv(file.with_name("robustness.csv"), dtype=str)
    assert list(rows.attack) == ["clean", "pgd-3"]
    assert 0 < (verdicts(file.parent, 2) == UNKNOWN).sum() < (verdicts(file.parent, 0) == ROBUST).sum()
    monkeypatch.setattr(attacks.Square, "_run", real)
    evaluate(file)
    assert results(file.parent) == whole


def test_sanity_checks_are_run_once(new_copy, stop, monkeypatch):
    monkeypatch.setattr(SANITY, sanity_checks.run_sanity_checks)
    file = new_copy("sanity")
    stop(60)
    with pytest.raises(KeyboardInterrupt):
        evaluate(file, FGSM)
    assert not list(file.parent.glob("sanity-*"))
    stop(None)
    report = evaluate(file, FGSM).sanity
    monkeypatch.setattr(SANITY, None)
    assert evaluate(file, FGSM).sanity == report
    assert evaluate(file, replace(FGSM, source=file)).sanity.checks[:8] == report.checks[:8]


def test_the_account_of_a_stopped_evaluation_holds_all_its_parts(new_copy, stop):
    file, parts = new_copy("whole"), new_copy("parts")
    evaluate(file)
    for calls in (60, 100):
        stop(calls)
        with pytest.raises(KeyboardInterrupt):
            evaluate(parts)
    stop(None)
    evaluate(parts)
    whole, account = (read_json(f.parent / "evaluate-best.ledger.json") for f in (file, parts))
    assert (account["passes"], account["flops"]) == (whole["passes"], whole["flops"])
    evaluate(parts)  # which runs nothing, and leaves the account as it is
    assert read_json(parts.parent / "evaluate-best.ledger.json") == account


def test_more_attacks_later_leave_the_earlier_rows(new_copy):
    file, at_once = new_copy("later"), new_copy("at-once")
    evaluate(file, replace(FGSM, attacks=("pgd-3",)))
    seconds = pd.read_csv(file.with_name("robustness.csv")).seconds.tolist()
    for each in (file, at_once):
        evaluate(each, replace(FGSM, attacks=("pgd-3", "fgsm")))
    rows = pd.read_csv(file.with_name("robustness.csv"))
    assert rows.seconds[rows.attack.isin(["clean", "pgd-3"])].tolist() == seconds[:2]
    assert (rows.attack == "worst-case(clean pgd-3)").sum() == 1
    assert verdicts(file.parent, 2).tolist() == verdicts(at_once.parent, 2).tolist()


@pytest.mark.parametrize(
    "other", [{"limit": 30}, {"seed": 1}, {"split": "val"}, {"norm": "L2"}, {"attacks": ("clean",)}], ids=str
)
def test_other_images_seeds_and_balls_have_matrices_of_their_own(new_copy, other):
    file = new_copy("others")
    evaluate(file, FGSM)
    (first,) = file.parent.glob("verdicts-*.npz")
    before = first.read_bytes()
    evaluate(file, replace(FGSM, **other))
    expected = 1 if "attacks" in other else 2
    assert len(list(file.parent.glob("verdicts-*.npz"))) == expected
    assert first.read_bytes() == before


def test_a_damaged_sanity_report_is_refused_before_any_attack(new_copy, monkeypatch):
    file = new_copy("damaged")
    evaluate(file, FGSM)
    (kept,) = file.parent.glob("sanity-*")
    kept.write_text("{}", encoding="utf-8")
    monkeypatch.setattr("robust_tickets.evaluation.evaluate.evaluate", None)
    with pytest.raises(InputError, match="remove it and evaluate again"):
        evaluate(file, FGSM)


def test_the_rows_are_shown_before_the_sanity_checks(new_copy, monkeypatch):
    shown = []

    def checks(*arguments):
        assert list(shown[0].attack) == ["clean", "fgsm", "worst-case(clean fgsm)"]
        return SanityReport((), 40, Passes())

    monkeypatch.setattr(SANITY, checks)
    evaluate_file(new_copy("shown"), SILENT, FGSM, on_rows=shown.append)
    assert len(shown) == 1


def test_another_spelling_of_the_eps_of_training_is_the_same(new_copy, tiny_recipe, monkeypatch):
    assert str(tiny_recipe.threat.eps) == "0.1"
    file = new_copy("written")
    evaluate(file, replace(FGSM, eps=()))
    before = (file.parent / "robustness.csv").read_bytes()
    monkeypatch.setattr(attacks.FGSM, "run", None)
    output = evaluate(file, replace(FGSM, eps=(Eps("1/10"),)))
    assert set(output.rows.eps) == {"0.1"}
    assert (file.parent / "robustness.csv").read_bytes() == before


class Counting(SilentProgress):
    """Adds up the steps of each stage, and keeps what was announced."""

    def __init__(self) -> None:
        self.stages: list[tuple[float, list[float]]] = []

    @contextmanager
    def stage(self, title, steps):
        meter, counted = StageProgress(), []
        meter.advance = lambda steps, passes: counted.append(steps)
        self.stages.append((steps, counted))
        yield meter


@pytest.mark.parametrize("again", [False, True])
def test_an_attack_counts_in_the_progress_by_its_passes(again, checkpoint, tmp_path):
    """So that the time left is right where one of them takes a thousand times another's."""
    file = shutil.copy(checkpoint, tmp_path / checkpoint.name)
    request = replace(FGSM, attacks=("fgsm", "pgd-20", "fgsm"))
    for _ in range(1 + again):
        progress = Counting()
        evaluate_file(file, Machine("cpu", progress), request)
    (steps, counted), *_ = progress.stages
    assert steps == 40 * (1 + 3 + 41)
    assert sum(counted) == steps
