"""compare and study with --jobs: the same results as one job at a time, also after a stop."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import slurm_cluster
from clusters import Cluster

from robust_tickets.cli.main import main

SMALL = (
    "--recipe demo --model.name lenet-300-100 --model.width 0.1 --compute.threads 1 --data.train-images 128"
    " --train.epochs 20 --train.ticket-epochs 2 --search.epochs 2 --search.rounds 1 --evaluate.images 50"
    " --evaluate.val-steps 1"
)
COMPARE = f"compare {SMALL} --compare.arms dense ticket"
FILES = ("best.safetensors", "last.safetensors", "ticket.safetensors", "metrics.jsonl", "early.jsonl")


def files(folder: Path) -> dict[str, bytes]:
    """The files that must not depend on the number of jobs."""
    found = (file for file in folder.rglob("*") if file.name in FILES)
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed comparison, one job at a time."""
    folder = tmp_path_factory.mktemp("alone")
    main([*COMPARE.split(), "--runs", str(folder / "runs")])
    return folder


def test_two_jobs_give_the_same_bits_and_marked_seconds(
    alone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main([*COMPARE.split(), "--jobs", "2", "--runs", str(tmp_path / "runs")])
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if "slow each other down" not in line]
    done = [line for line in lines if " of 3 done: " in line]
    assert len(done) == 3
    lines = [line for line in lines if line not in done]
    assert lines
    assert [
        line for line in lines if not re.match(r"(WARNING: )?(search|dense|ticket), seed 0: ", line)
    ] == []
    assert "† " in out
    assert "2 jobs" in out
    assert files(tmp_path) == files(alone)
    one, two = (pd.read_csv(next(folder.rglob("timing.csv"))) for folder in (alone, tmp_path))
    assert set(one.jobs) == {1}
    assert set(two.jobs) == {2}
    for column in ("pgd20_mean", "total_passes", "total_flops"):
        assert one[column].equals(two[column])


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_bits(
    alone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [*COMPARE.split(), "--executor", "dask", "--jobs", "2", "--runs", str(tmp_path / "runs")]
    main(words)
    err = capfd.readouterr().err
    assert len([line for line in err.splitlines() if " of 3 done: " in line]) == 3
    assert files(tmp_path) == files(alone)
    assert set(pd.read_csv(next(tmp_path.rglob("timing.csv"))).jobs) == {2}
    main(words)  # again: no worker is started
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_cluster_that_runs_gives_the_same_bits(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers, in another folder, describe the machine of the run, and read its images."""
    cluster = Cluster(tmp_path)
    try:
        cluster.add_worker("--nworkers", "2")
        monkeypatch.chdir(tmp_path)
        words = ("--scheduler-file", str(cluster.file), "--runs", "runs")
        main([*COMPARE.split(), *words])
        assert files(tmp_path) == files(alone)
        private = (*words[:2], "--no-shared-files", "--runs", "private/runs")
        main([*COMPARE.split(), *private])
        assert files(tmp_path / "private") == files(alone)
        study = f"study transfer {SMALL} --seeds 1 --study.transfer threat.eps=0.2"
        main([*study.split(), *words])
        assert len(pd.read_csv(next(tmp_path.rglob("transfer.csv")))) > 1
    finally:
        cluster.close()


@pytest.mark.slow
@pytest.mark.skipif(not slurm_cluster.IS_HERE, reason="Slurm is not installed")
def test_slurm_gives_the_same_bits(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    cluster = slurm_cluster.SlurmCluster()
    try:
        monkeypatch.setenv("SLURM_CONF", cluster.settings["SLURM_CONF"])
        monkeypatch.chdir(tmp_path)
        main([*COMPARE.split(), "--executor", "slurm", "--runs", "runs"])
    finally:
        cluster.close()
    assert files(tmp_path) == files(alone)
    assert len([line for line in capfd.readouterr().err.splitlines() if " of 4 done: " in line]) == 4
    assert not list(tmp_path.rglob(".slurm"))


@pytest.mark.slow
def test_a_study_with_two_jobs_gives_the_same(tmp_path: Path) -> None:
    words = f"study transfer {SMALL} --seeds 1 --study.transfer threat.eps=0.2".split()
    for folder, jobs in (("one", "1"), ("two", "2")):
        main([*words, "--jobs", jobs, "--runs", str(tmp_path / folder / "runs")])
    assert files(tmp_path / "one") == files(tmp_path / "two")
    tables = [pd.read_csv(next((tmp_path / folder).rglob("transfer.csv"))) for folder in ("one", "two")]
    pd.testing.assert_frame_equal(*tables)
    ledgers = [json.loads(file.read_text()) for file in (tmp_path / "two").rglob("seed-0/*/ledger.json")]
    assert ledgers
    assert {ledger["jobs"] for ledger in ledgers} == {2}


def children_of(parent: int) -> list[int]:
    """The processes that run a parent's jobs."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and b"spawn_main" in command:
            children.append(int(folder.name))
    return children


# each signal once and each stage once: what a signal does is not the stage's
STOPS = [
    (signal.SIGKILL, "dense, seed"),
    pytest.param(signal.SIGINT, "search, seed", marks=pytest.mark.slow),
    pytest.param(signal.SIGTERM, "ticket, seed", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("number", "line"), STOPS)
def test_a_stopped_comparison_ends_its_jobs_and_resumes(
    alone: Path, tmp_path: Path, number: signal.Signals, line: str
) -> None:
    words = [*COMPARE.split(), "--checkpoint-steps", "1"]
    command = [sys.executable, "-m", "robust_tickets", *words, "--jobs", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line in said and "epoch 1/" in said for said in process.stderr)
        children = children_of(process.pid)
        process.send_signal(number)
        err = process.stderr.read()
    assert children
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in err
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a job lives on"
        time.sleep(0.1)
    main([*words, "--runs", str(tmp_path / "runs")])
    assert files(tmp_path) == files(alone)
    assert not list(tmp_path.rglob("*.part"))
