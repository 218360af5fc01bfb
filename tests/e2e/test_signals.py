"""Ctrl-C, SIGTERM and SIGKILL: the command says how to resume, and resuming ends with the same files."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from robust_tickets.base import signals
from robust_tickets.cli.main import main

COMMON = (
    "--recipe demo --model.name lenet-300-100 --model.width 0.1 --compute.threads 1 --data.train-images 256"
    " --evaluate.val-steps 1"
)
TRAIN = f"train {COMMON} --train.epochs 3"  # 12 steps
SEARCH = f"search {COMMON} --search.epochs 1 --search.rounds 2"  # of 4 steps each
FILES = ("ticket.safetensors", "best.safetensors", "last.safetensors", "metrics.jsonl")
# sends a signal to itself when a module is imported, or before a step of the optimiser
CHILD = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
point, number, sys.argv = sys.argv[1], int(sys.argv[2]), sys.argv[2:]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == point:
            os.kill(os.getpid(), number)
if point.isdigit():
    import torch
    steps, step = [], torch.optim.SGD.step
    def stop(self, *arguments):
        steps.append(1)
        if len(steps) == int(point):
            os.kill(os.getpid(), number)
        return step(self, *arguments)
    torch.optim.SGD.step = stop
else:
    sys.meta_path.insert(0, Finder())
runpy.run_module("robust_tickets", run_name="__main__")
"""


def files(folder: Path) -> dict[str, bytes]:
    contents = {file: file.read_bytes() for file in folder.rglob("*") if file.name in FILES}
    return {str(file.relative_to(folder)): content for file, content in contents.items()}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command, perhaps with a signal at a function's n-th call: status, calls, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(words, number=None, point=0, owner=torch.optim.SGD, name="step"):
        function, calls, status = getattr(owner, name), [], 0

        def watched(*arguments, **options):
            calls.append(1)
            if len(calls) == point:
                os.kill(os.getpid(), number)
            return function(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, watched)
            try:
                main(words.split())
            except SystemExit as stop:
                status = stop.code
        return status, len(calls), capsys.readouterr().err

    return call


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The files of a whole training and a whole search."""
    contents, place = {}, Path.cwd()
    for words in (TRAIN, SEARCH):
        folder = tmp_path_factory.mktemp("undisturbed")
        os.chdir(folder)
        main(words.split())
        contents[words] = files(folder)
    os.chdir(place)
    return contents


def check_stopped(number, status, err):
    assert status == 128 + number
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith(f"robust-tickets: stopped by {number.name}; ")
    assert "same command" in last


def slow(points):
    return [pytest.param(*point, marks=pytest.mark.slow) for point in points]


STEPS = {TRAIN: 12, SEARCH: 8}
POINTS = [
    (TRAIN, signal.SIGINT, 6),
    (SEARCH, signal.SIGTERM, 7),
    *slow((TRAIN, signal.SIGTERM, step) for step in range(1, 13)),
    *slow((SEARCH, signal.SIGINT, step) for step in range(1, 9)),
]


@pytest.mark.parametrize(("words", "number", "step"), POINTS)
def test_a_stopped_command_resumes_to_the_same_files(words, number, step, run, undisturbed, tmp_path):
    status, steps, err = run(words, number, step)
    check_stopped(number, status, err)
    assert list(tmp_path.rglob("*step-*.safetensors"))
    status, more, _ = run(words)
    assert status == 0
    assert steps + more == STEPS[words], "no step is repeated"
    assert files(tmp_path) == undisturbed[words]
    assert not list(tmp_path.rglob("*step-*"))


def child(folder, point, number, words):
    command = [sys.executable, "-c", CHILD, str(point), str(int(number)), *words.split()]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return process.returncode, process.stderr


@pytest.mark.parametrize("step", [5, *slow([(3,), (12,)])])
def test_a_killed_training_resumes_from_its_last_state(step, run, undisturbed, tmp_path):
    assert child(tmp_path, step, signal.SIGKILL, f"{TRAIN} --checkpoint-steps 1")[0] == -signal.SIGKILL
    assert list(tmp_path.rglob("*step-*.safetensors"))
    status, steps, _ = run(TRAIN)
    assert status == 0
    assert steps <= STEPS[TRAIN] - step + 2, "one step is lost"
    assert files(tmp_path) == undisturbed[TRAIN]


MODULES = ["torch", *(pytest.param(name, marks=pytest.mark.slow) for name in ("tyro", "numpy", "pandas"))]


@pytest.mark.parametrize("module", MODULES)
def test_a_signal_during_the_imports_is_answered(module, tmp_path):
    check_stopped(signal.SIGTERM, *child(tmp_path, module, signal.SIGTERM, TRAIN))


def test_ctrl_c_before_signals_are_handled_is_answered_too(tmp_path):
    check_stopped(signal.SIGINT, *child(tmp_path, "robust_tickets.base.signals", signal.SIGINT, TRAIN))


def evaluation(folder):
    """Verdicts without seconds, and sanity checks."""
    with np.load(next(folder.rglob("verdicts-*.npz"))) as matrix:
        verdicts = {name: matrix[name].tolist() for name in matrix.files if name != "seconds"}
    return verdicts, next(folder.rglob("sanity-*.json")).read_text(encoding="utf-8")


@pytest.mark.parametrize("call", [300, *slow([(5,), (100,), (500,), (700,)])])
def test_a_stopped_evaluation_resumes_to_the_same_verdicts(call, run, tmp_path):
    """The signal comes at a layer's call: in the first attack, the second, or the sanity checks."""
    run(TRAIN)
    shutil.copytree(tmp_path / "runs", tmp_path / "whole" / "runs")
    (checkpoint,) = (tmp_path / "runs").rglob("best.safetensors")
    words = f"evaluate {checkpoint} --attacks pgd-10 square(queries=100) --limit 50"
    assert run(words.replace("runs/", "whole/runs/", 1))[0] == 0
    status, _, err = run(words, signal.SIGTERM, call, torch.nn.functional, "linear")
    check_stopped(signal.SIGTERM, status, err)
    assert run(words)[0] == 0
    assert evaluation(tmp_path / "runs") == evaluation(tmp_path / "whole")


def test_a_stop_that_python_ignores_comes_at_the_next_check():
    """As an exception in a callback of a weak reference, such as those of imports."""
    with signals.handle_signals():
        with contextlib.suppress(signals.StopRequest):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(signals.StopRequest):
            signals.raise_if_requested()


def test_a_second_signal_does_not_wait():
    """However long a step takes."""

    def send():
        with signals.handle_signals(), signals.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.stop_requested()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(signals.StopRequest) as stop:
        send()
    assert stop.value.signal == signal.SIGTERM
