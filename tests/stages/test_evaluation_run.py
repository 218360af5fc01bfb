"""A stopped evaluation: the same command again leaves the same files, and repeats one chunk at most."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

import attacks
from attacks import Attack
from robust_tickets.base.errors import InputError
from robust_tickets.base.ledger import Passes
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.data import load
from robust_tickets.evaluation import chunks, sanity_checks, sanity_report
from robust_tickets.models import registry
from robust_tickets.models.fold import FoldedNet
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.eps import Eps
from robust_tickets.runs.files import read_json
from robust_tickets.stages import evaluate as evaluate_stage
from robust_tickets.stages.evaluation_request import EvaluationRequest
from robust_tickets.stages.experiment import model_spec
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.state import copy_state

ATTACKS = ("pgd-3", "square(queries=8)", "torchattacks:CW(c=1, steps=2)")
SILENT = Machine("cpu", SilentProgress())
REQUEST = EvaluationRequest(ATTACKS, limit=40, eps=(Eps("0.05"), Eps("0.2")))


@pytest.fixture(scope="module")
def checkpoint(tiny_recipe, tmp_path_factory) -> bytes:
    """A network that was trained for a moment, evaluated in batches of sixteen."""
    recipe = replace(tiny_recipe, evaluate=replace(tiny_recipe.evaluate, batch=16))
    images = load.load(recipe.data)
    net = registry.build(model_spec(recipe, images.spec), seed=0)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(net(images.train.images / 255), images.train.labels).backward()
        optimiser.step()
    rest = (recipes.to_table(recipe), images.fingerprint, "dense", 0, 1, 0.1, 0.1)
    file = tmp_path_factory.mktemp("net") / "best.safetensors"
    Checkpoint(copy_state(net), model_spec(recipe, images.spec), *rest).save(file)
    return file.read_bytes()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of eight samples: five of them in each attack on forty."""
    monkeypatch.setitem(chunks.CHUNK_FLOPS, "cpu", 0)


SANITY = "robust_tickets.stages.evaluation_run.run_sanity_checks"


@pytest.fixture(autouse=True)
def no_sanity(monkeypatch):
    """Sanity checks that take no time."""
    monkeypatch.setattr(SANITY, lambda *_: sanity_report.SanityReport((), 40, Passes()))


@pytest.fixture
def sanity(monkeypatch, no_sanity):
    """The real sanity checks."""
    monkeypatch.setattr(SANITY, sanity_checks.run_sanity_checks)


@pytest.fixture
def begin(checkpoint, tmp_path):
    """A folder with the checkpoint alone."""

    def new(name: str) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.safetensors").write_bytes(checkpoint)
        return tmp_path / name / "best.safetensors"

    return new


def evaluate(
    file: Path, request: EvaluationRequest = REQUEST, machine: Machine = SILENT
) -> evaluate_stage.EvaluationOutput:
    return evaluate_stage.evaluate_file(file, machine, request)


def left(folder: Path) -> dict[str, object]:
    """What an evaluation left, but for seconds: arrays, rows, names of files."""
    found: dict[str, object] = {}
    for file in folder.glob("verdicts-*.npz"):
        with np.load(file) as arrays:
            found[file.name] = {name: arrays[name].tolist() for name in arrays.files if name != "seconds"}
    rows = pd.read_csv(folder / "robustness.csv", dtype=str, keep_default_na=False)
    found["rows"] = rows.drop(columns="seconds").to_dict("records")
    found["names"] = sorted(path.name for path in folder.iterdir())
    return found


@pytest.fixture
def whole(begin):
    """What is left of an evaluation that nothing stops."""
    file = begin("whole")
    evaluate(file)
    return left(file.parent)


@pytest.fixture
def stop(monkeypatch):
    """Let the net raise KeyboardInterrupt when it is asked for the k-th time; gives how often it was."""
    asked = [0]
    real = FoldedNet.forward

    def after(k: int | None) -> list[int]:
        asked[0] = 0

        def forward(net, images):
            asked[0] += 1
            if asked[0] == k:
                raise KeyboardInterrupt
            return real(net, images)

        monkeypatch.setattr(FoldedNet, "forward", forward)
        return asked

    return after


def test_stopped_at_any_block_it_ends_the_same(begin, stop, whole):
    count = stop(None)
    evaluate(begin("counted"))
    total = count[0]
    assert total > 150
    for k in (1, 2, 9, 20, 47, total // 3, total // 2, total - 1):
        file = begin(f"stopped-at-{k}")
        stop(k)
        with pytest.raises(KeyboardInterrupt):
            evaluate(file)
        again = stop(None)
        evaluate(file)
        assert left(file.parent) == whole, k
        assert again[0] <= total - k + 1 + 40, "one chunk at most is attacked twice"


def test_stopped_again_and_again_it_ends_the_same(begin, stop, whole):
    file = begin("stopped")
    stopped = 0
    while stopped < 60:
        stop(40)  # more than any chunk takes
        try:
            evaluate(file)
        except KeyboardInterrupt:
            stopped += 1
            assert not list(file.parent.glob(".*.part"))
        else:
            break
    assert 2 < stopped < 60
    assert left(file.parent) == whole


KILLED = f"""
import os, signal, sys
from pathlib import Path
import attacks.square
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.evaluation import chunks
from robust_tickets.recipe.eps import Eps
from robust_tickets.stages.evaluate import evaluate_file
from robust_tickets.stages.evaluation_request import EvaluationRequest

queries, window_share = [0], attacks.square.window_share

def dying(*arguments):
    queries[0] += 1
    if queries[0] == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return window_share(*arguments)

attacks.square.window_share = dying
chunks.CHUNK_FLOPS["cpu"] = 0
request = EvaluationRequest({ATTACKS!r}, limit=40, eps=(Eps("0.05"), Eps("0.2")))
evaluate_file(Path(sys.argv[1]), Machine("cpu", SilentProgress()), request)
"""


def test_killed_within_a_chunk_it_ends_the_same(begin, stop, whole):
    """In the fifth query of the second chunk of Square: seven of eight queries change a window."""
    count = stop(None)
    evaluate(begin("counted"))
    total = count[0]
    file = begin("killed")
    process = subprocess.run([sys.executable, "-c", KILLED, str(file)])
    assert process.returncode == -signal.SIGKILL
    (matrix,) = file.parent.glob("verdicts-*.npz")
    with np.load(matrix) as arrays:
        square = arrays["verdicts"][:, list(arrays["attacks"]).index(ATTACKS[1])]
    assert 0 < (square == -1).sum() < 40
    again = stop(None)
    evaluate(file)
    found = left(file.parent)
    found["names"] = [name for name in found["names"] if not name.endswith(".part")]
    assert found == whole
    assert again[0] < total


def test_rows_are_on_disk_as_soon_as_their_attack_is_done(begin, monkeypatch, whole):
    file = begin("failing")
    real = Attack.run

    def run(attack, net, images, *arguments, **options):
        if isinstance(attack, attacks.Square) and int(options["sample_ids"][0]) != first[0]:
            raise attacks.InputError("the network gave up")
        return real(attack, net, images, *arguments, **options)

    net = Checkpoint.load(file).net()
    chosen = load.load(Checkpoint.load(file).resolved_recipe().data).test.first(40)
    standing = (net(chosen.images / 255).argmax(1) == chosen.labels).nonzero()[:, 0]
    first = [int(chosen.ids[standing[0]])]
    monkeypatch.setattr(Attack, "run", run)
    with pytest.raises(attacks.InputError, match="gave up"):
        evaluate(file)
    rows = pd.read_csv(file.with_name("robustness.csv"), dtype=str)
    assert list(rows.attack) == ["clean", "pgd-3"]
    (matrix,) = file.parent.glob("verdicts-*.npz")
    with np.load(matrix) as found:
        assert list(found["attacks"]) == ["clean", "pgd-3", "square(queries=8)"]
        square = found["verdicts"][:, 2]
    assert (square == -1).any()  # not judged yet
    assert (square >= 0).sum() > 40 - len(standing)  # the first part was
    monkeypatch.setattr(Attack, "run", real)
    evaluate(file)
    assert left(file.parent) == whole


def test_more_attacks_later_leave_what_is_there(begin, whole):
    file = begin("later")
    evaluate(file, replace(REQUEST, attacks=ATTACKS[:1]))
    seconds = pd.read_csv(file.with_name("robustness.csv")).seconds.tolist()
    evaluate(file)
    found = left(file.parent)
    assert {k: v for k, v in found.items() if k.startswith("verdicts")} == {
        k: v for k, v in whole.items() if k.startswith("verdicts")
    }
    rows = pd.read_csv(file.with_name("robustness.csv"))
    assert rows.seconds[rows.attack.isin(["clean", "pgd-3"])].tolist() == [seconds[i] for i in (0, 1, 3, 4)]
    assert (rows.attack == "worst-case(clean pgd-3)").sum() == 2


def test_an_attack_with_other_settings_is_run_again(begin, monkeypatch):
    file = begin("settings")
    before = evaluate(file, replace(REQUEST, attacks=("pgd-3",))).rows

    def longer(threat: attacks.ThreatModel, steps: int = 3, rel_step: float = 0.25) -> attacks.PGD:
        return attacks.PGD(threat, steps=steps, rel_step=1.0)

    monkeypatch.setitem(attacks.text.BUILDERS, "pgd", longer)
    after = evaluate(file, replace(REQUEST, attacks=("pgd-3",))).rows
    assert not set(after.settings[after.attack == "pgd-3"]) & set(before.settings[before.attack == "pgd-3"])


@pytest.mark.parametrize(
    "other", [{"limit": 30}, {"seed": 1}, {"split": "val"}, {"norm": "L2"}, {"attacks": ("clean",)}], ids=str
)
def test_other_images_seeds_and_balls_have_matrices_of_their_own(begin, other):
    file = begin("others")
    asked = replace(REQUEST, eps=(Eps("0.2"),), attacks=("fgsm",))
    evaluate(file, asked)
    (first,) = file.parent.glob("verdicts-*.npz")
    before = first.read_bytes()
    evaluate(file, replace(asked, **other))
    expected = 1 if "attacks" in other else 2
    assert len(list(file.parent.glob("verdicts-*.npz"))) == expected
    assert first.read_bytes() == before


def test_sanity_checks_are_kept_as_they_were_found(begin, stop, sanity, monkeypatch):
    file = begin("sanity")
    stop(60)
    with pytest.raises(KeyboardInterrupt):
        evaluate(file, replace(REQUEST, eps=(Eps("0.2"),), attacks=("fgsm",)))
    assert not list(file.parent.glob("sanity-*"))
    stop(None)
    asked = replace(REQUEST, eps=(Eps("0.2"),), attacks=("fgsm",))
    found = evaluate(file, asked).sanity
    monkeypatch.setattr(SANITY, None)
    assert evaluate(file, asked).sanity == found
    assert evaluate(file, replace(asked, source=file)).sanity.checks[:8] == found.checks[:8]


def test_the_account_of_a_stopped_evaluation_holds_all_its_parts(begin, stop):
    file, parts = begin("whole"), begin("parts")
    evaluate(file)
    for calls in (60, 100):
        stop(calls)
        with pytest.raises(KeyboardInterrupt):
            evaluate(parts)
    stop(None)
    evaluate(parts)
    whole, found = (read_json(f.parent / "evaluate-best.ledger.json") for f in (file, parts))
    assert (found["passes"], found["flops"]) == (whole["passes"], whole["flops"])
    evaluate(parts)  # where all is known, the account of what it took stays
    assert read_json(parts.parent / "evaluate-best.ledger.json") == found


def test_damaged_sanity_checks_are_said_before_any_attack_is_run(begin, sanity, monkeypatch):
    file = begin("damaged")
    asked = replace(REQUEST, eps=(Eps("0.2"),), attacks=("fgsm",))
    evaluate(file, asked)
    (kept,) = file.parent.glob("sanity-*")
    kept.write_text("{}", encoding="utf-8")
    monkeypatch.setattr("robust_tickets.evaluation.evaluate.evaluate", None)
    with pytest.raises(InputError, match="remove it and evaluate again"):
        evaluate(file, asked)


def test_the_rows_are_shown_before_the_sanity_checks_begin(begin, monkeypatch):
    shown = []

    def checks(*arguments):
        assert list(shown[0].attack) == ["clean", "fgsm", "worst-case(clean fgsm)"]
        return sanity_report.SanityReport((), 40, Passes())

    monkeypatch.setattr(SANITY, checks)
    asked = replace(REQUEST, eps=(Eps("0.2"),), attacks=("fgsm",))
    evaluate_stage.evaluate_file(
        begin("shown"), Machine("cpu", SilentProgress()), asked, on_rows=shown.append
    )
    assert len(shown) == 1


def test_an_eps_written_otherwise_than_in_training_is_the_same(begin, tiny_recipe, monkeypatch):
    assert str(tiny_recipe.threat.eps) == "0.1"
    file = begin("written")
    evaluate(file, replace(REQUEST, eps=(), attacks=("fgsm",)))
    before = (file.parent / "robustness.csv").read_bytes()
    monkeypatch.setattr(attacks.FGSM, "run", None)
    found = evaluate(file, replace(REQUEST, eps=(Eps("1/10"),), attacks=("fgsm",)))
    assert set(found.rows.eps) == {"0.1"}
    assert (file.parent / "robustness.csv").read_bytes() == before
