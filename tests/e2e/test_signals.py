"""Ctrl-C and SIGTERM on the real program: it says how to go on, and going on leaves the same files."""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

TRAIN = (
    "train --recipe demo --model.name lenet-300-100 --model.width 0.3 --compute.threads 1 --train.epochs 40"
    " --data.train-images 600 --evaluate.val-steps 1 --checkpoint-minutes 0"
)


def started(folder, words):
    command = [sys.executable, "-m", "robust_tickets", *words.split()]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def weights(folder):
    return {
        file.name: file.read_bytes()
        for file in folder.rglob("*")
        if file.name in ("best.safetensors", "last.safetensors", "metrics.jsonl")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with started(folder, TRAIN) as process:
        process.communicate()
    assert process.returncode == 0
    return weights(folder)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_stopped_and_run_again_it_ends_as_if_nothing_had_been(number, status, whole, tmp_path):
    words = (
        TRAIN if number != signal.SIGKILL else TRAIN.replace("--checkpoint-minutes 0", "--checkpoint-steps 1")
    )
    with started(tmp_path, words) as process:
        for line in process.stderr:
            if "epoch 3/" in line:
                break
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in err
    assert out == ""
    if number != signal.SIGKILL:
        last = err.splitlines()[-1]
        assert last.startswith(f"robust-tickets: stopped by {number.name}; ")
        assert "the same command goes on from there" in last
    assert len(list(tmp_path.rglob("step-*.safetensors"))) in (1, 2)
    with started(tmp_path, words) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert "going on after step" in err
    assert "epoch 2/" not in err
    assert weights(tmp_path) == whole


def judged(folder):
    """What an evaluation leaves beside the net, but for seconds."""
    with np.load(next(folder.rglob("verdicts-*.npz"))) as found:
        verdicts = {name: found[name].tolist() for name in found.files if name != "seconds"}
    return verdicts, next(folder.rglob("sanity-*.json")).read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_an_evaluation_that_is_stopped_within_an_attack_goes_on_there(number, tmp_path):
    """A single block of samples under so many queries: nothing else is ever kept of it."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    with started(one, TRAIN.replace("epochs 40", "epochs 2")) as process:
        process.communicate()
    shutil.copytree(one, two)
    file = next(one.rglob("best.safetensors")).relative_to(one)
    words = f"evaluate {file} --attacks square(queries=3000) --limit 100 --checkpoint-minutes 0"
    with started(one, words) as process:
        _, err = process.communicate()
    assert process.returncode == 0, err
    with started(two, words) as process:
        for line in process.stderr:
            if "clean" in line:
                break
        time.sleep(0.3)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 128 + number
    assert out == ""
    assert err.splitlines()[-1].startswith(f"robust-tickets: stopped by {number.name}; ")
    assert len(list(two.rglob("step-*.safetensors"))) == 1
    with started(two, words) as process:
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert "going on within square(queries=3000), after" in err
    assert judged(two) == judged(one)
    assert not list(two.rglob("state"))


@pytest.mark.parametrize("number", [signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.9])
def test_a_signal_while_modules_are_imported_is_heeded_too(seconds, number, tmp_path):
    with started(tmp_path, TRAIN) as process:
        time.sleep(seconds)
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == 128 + number
    assert err.splitlines()[-1].startswith(f"robust-tickets: stopped by {number.name}; ")
    assert "Traceback" not in err


def test_a_second_signal_does_not_wait(tmp_path):
    """A step that takes minutes holds nobody up."""
    code = (
        "import sys, time\n"
        "from robust_tickets.base import signals\n"
        "with signals.handle_signals():\n"
        "    try:\n"
        "        with signals.deferred():\n"
        "            print('ready', flush=True)\n"
        "            begin = time.monotonic()\n"
        "            while time.monotonic() < begin + 60:\n"
        "                time.sleep(0.05)\n"
        "    except signals.StopRequest as stopped:\n"
        "        print(stopped.by.name, time.monotonic() - begin < 50, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "SIGTERM True\n"
