"""Commands whose trainings are shared by two processes, started by the command and by torchrun."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

FLAGS = [
    "compare",
    "--recipe",
    "demo",
    "--compute.threads",
    "1",
    "--search.epochs",
    "2",
    "--train.epochs",
    "4",
    "--train.ticket-epochs",
    "2",
    "--compare.arms",
    "dense",
    "ticket",
    "--quiet",
]


def command(runs, *words, launcher=("-m", "robust_tickets")):
    return [sys.executable, *launcher, *FLAGS, "--runs", str(runs), *words]


def run(runs, *words, **options):
    done = subprocess.run(command(runs, *words, **options), capture_output=True, text=True, timeout=500)
    return done.returncode, done.stdout, done.stderr


def folder(runs):
    (path,) = runs.glob("demo-*")
    return path


def costs(runs):
    return pd.read_csv(folder(runs) / "timing.csv")[["arm", "epochs", "total_passes", "total_flops"]]


def test_two_processes_take_what_one_takes_and_torchrun_does_too(tmp_path):
    alone, shared, torchrun = (tmp_path / name for name in ("alone", "shared", "torchrun"))
    assert run(alone)[0] == 0
    assert run(shared, "--devices", "2")[0] == 0
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "robust_tickets")
    status, _, errors = run(torchrun, launcher=launcher)
    assert status == 0, errors
    for runs in (shared, torchrun):
        pd.testing.assert_frame_equal(costs(alone), costs(runs))
        assert json.loads((folder(runs) / "env.json").read_text())["devices"] == 2
    # both have the bits of two processes
    for name in ("search/ticket", "dense/last", "ticket/last"):
        one, other = (folder(runs) / f"seed-0/{name}.safetensors" for runs in (shared, torchrun))
        assert one.read_bytes() == other.read_bytes()


def test_a_stopped_run_goes_on_with_one_process_and_is_marked(tmp_path):
    stopped = subprocess.Popen(command(tmp_path, "--devices", "2", "--checkpoint-steps", "3"))
    state = []
    for _ in range(600):
        state = list(tmp_path.glob("demo-*/seed-0/dense/*/step-*"))
        if state or stopped.poll() is not None:
            break
        time.sleep(0.2)
    assert state, "no state was saved"
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(60) == 130
    status, _, errors = run(tmp_path)
    assert status == 2
    assert "began on a machine with devices 2, this one has 1" in errors
    status, _, errors = run(tmp_path, "--any-machine")
    assert status == 0, errors
    machines = json.loads((folder(tmp_path) / "env.json").read_text())
    assert machines["devices"] == 2
    assert "devices" not in machines["others"][0]


def test_a_message_ends_all_processes_of_torchrun(tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "robust_tickets")
    status, _, errors = run(tmp_path, "--train.batch", "33", launcher=launcher)
    assert status != 0
    assert "train.batch 33 does not divide among 2 devices" in errors
    assert "SIGKILL" not in errors


NO_THREADS_LEFT = """
import os, sys
from pathlib import Path
from robust_tickets.__main__ import main
try:
    main()
finally:
    if os.environ["RANK"] == "1":
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
        print("threads:", *names)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the names of threads from /proc")
def test_a_process_of_torchrun_keeps_no_thread_that_could_abort_as_python_ends(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(NO_THREADS_LEFT)
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", str(script))
    status, output, errors = run(tmp_path, launcher=launcher)
    assert status == 0, errors
    (line,) = (line for line in output.splitlines() if line.startswith("threads:"))
    assert "gloo" not in line
