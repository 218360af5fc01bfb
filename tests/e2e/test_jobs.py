"""compare and study with --jobs: the same results, whatever happens meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

SMALL = (
    "--recipe demo --model.name lenet-300-100 --model.width 0.3 --compute.threads 1 --data.train-images 300"
    " --train.epochs 4 --train.ticket-epochs 2 --search.epochs 2 --search.rounds 1 --evaluate.images 50"
    " --evaluate.val-steps 1"
)
COMPARE = f"compare {SMALL} --compare.arms dense ticket".replace("epochs 4", "epochs 40")
BITS = ("best.safetensors", "last.safetensors", "ticket.safetensors", "metrics.jsonl", "early.jsonl")


def started(folder: Path, words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "robust_tickets", *words.split()]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def ran(folder: Path, words: str) -> tuple[int, str, str]:
    with started(folder, words) as process:
        out, err = process.communicate()
    return process.returncode, out, err


def bits(folder: Path) -> dict[str, bytes]:
    """What must not hang on the jobs, by its place in the runs folder."""
    return {
        str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.name in BITS
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert ran(folder, COMPARE)[0] == 0
    return folder


def test_the_same_bits_and_flagged_seconds(alone: Path, tmp_path: Path) -> None:
    status, out, _ = ran(tmp_path, f"{COMPARE} --jobs 2")
    assert status == 0
    assert bits(tmp_path) == bits(alone)
    assert "† Taken while up to 2 jobs ran side by side." in out
    table = pd.read_csv(next(tmp_path.rglob("timing.csv")))
    before = pd.read_csv(next(alone.rglob("timing.csv")))
    assert set(table.jobs) == {2}
    assert set(before.jobs) == {1}
    for column in ("pgd20_mean", "total_passes", "total_flops"):
        assert table[column].equals(before[column])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_run_again_nothing_is_lost(alone: Path, tmp_path: Path, number: signal.Signals) -> None:
    words = f"{COMPARE} --jobs 2 --checkpoint-steps 1"
    with started(tmp_path, words) as process:
        for line in process.stderr:
            if "dense, seed" in line and "epoch 1/" in line:
                break
        children = children_of(process.pid)
        process.send_signal(number)
        _, err = process.communicate()
    assert children
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in err
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline, "a child lives on"
        time.sleep(0.1)
    assert list(tmp_path.rglob("step-*.safetensors"))
    assert ran(tmp_path, words)[0] == 0
    assert bits(tmp_path) == bits(alone)
    assert not list(tmp_path.rglob("*.part"))


def children_of(parent: int) -> list[int]:
    """Processes of which it is the parent, but for the standard library's own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


def test_a_job_that_goes_wrong_is_named(tmp_path: Path) -> None:
    status, out, err = ran(tmp_path, f"{COMPARE} --jobs 2 --train.lr 1e30")
    assert status == 2
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("robust-tickets: ")
    assert ", seed " in last
    assert "diverged" in last
    assert "Traceback" not in err


def test_more_threads_than_cores_are_said(tmp_path: Path) -> None:
    cores = os.cpu_count() or 1
    words = COMPARE.replace("threads 1", f"threads {cores}")
    _, _, err = ran(tmp_path, f"{words} --train.lr 1e30 --jobs 2")
    assert f"2 jobs of {cores} threads on {cores} cores slow each other down" in err


def test_a_study_side_by_side_finds_the_same(tmp_path: Path) -> None:
    words = f"study transfer {SMALL} --seeds 1 --study.transfer threat.eps=0.2"
    for folder, jobs in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        assert ran(tmp_path / folder, f"{words} --jobs {jobs}")[0] == 0
    assert bits(tmp_path / "one") == bits(tmp_path / "two")
    tables = [pd.read_csv(next((tmp_path / f).rglob("transfer.csv"))) for f in ("one", "two")]
    pd.testing.assert_frame_equal(*tables)
    accounts = [json.loads(f.read_text()) for f in (tmp_path / "two").rglob("seed-0/*/ledger.json")]
    assert accounts
    assert {account["jobs"] for account in accounts} == {2}


def test_no_jobs_are_refused(tmp_path: Path) -> None:
    status, _, err = ran(tmp_path, f"{COMPARE} --jobs 0")
    assert status == 2
    assert "jobs must be at least 1" in err
