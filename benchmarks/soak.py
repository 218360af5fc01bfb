"""Kill searches, trainings, evaluations and comparisons at random moments, and spoil their file writes.

    python -m benchmarks.soak [--kills 100] [--faults 20] --out runs/bench/soak

Each trial runs a verb on digits, stops it by SIGKILL or by a fault, runs the same command again to its end,
and compares all that it left with what an undisturbed run leaves: tickets, weights, metrics, verdicts, rows,
passes and FLOPs, to the byte; seconds alone may differ. Writes trials.jsonl (a soak that was stopped goes on)
and soak.md. Processes are forked from one that has imported everything, so that a trial takes seconds.
"""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import tyro

from benchmarks.measuring import Records, machine
from robust_tickets.cli import main as cli
from robust_tickets.runs import files

COMMON = (
    "--recipe demo --data.train-images 300 --data.val-images 60 --model.name lenet-300-100 --model.width 0.1 "
    "--search.epochs 2 --search.rounds 2 --search.ratio 0.5 --train.epochs 4 --train.ticket-epochs 2 "
    "--evaluate.images 60 --evaluate.batch 20 --evaluate.val-steps 2 --compute.threads 1"
)
OFTEN = "--checkpoint-minutes 0.001"
EVALUATE = "--attacks pgd-10 apgd(steps=20) apgd-t(steps=10,targets=3) square(queries=50) --limit 60"
VERBS = {
    "search": f"search {COMMON} {OFTEN}",
    "train": f"train {COMMON} {OFTEN}",
    "evaluate": f"evaluate best.safetensors {EVALUATE} {OFTEN}",
    "compare": f"compare {COMMON} {OFTEN}",
}
FAULTS = ("disk full", "input/output error", "short write", "crash before the rename")
CLOCK = ("seconds", "search_s", "train_s", "total_s", "seconds_vs_dense")


@dataclass(frozen=True)
class Settings:
    """How much is tried."""

    out: Path = Path("runs/bench/soak")
    """folder of the trials and the table"""
    kills: int = 100
    """processes killed"""
    faults: int = 20
    """file writes spoilt"""
    seed: int = 0
    """seed of moments, writes and verbs"""


def begin(words: str, folder: Path, spoil: Callable[[], None] = lambda: None) -> int:
    """Start a verb in a folder, in a process of its own; gives its number."""
    child = os.fork()
    if child:
        return child
    os.chdir(folder)
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    spoil()
    return _run(words)


def _run(words: str) -> NoReturn:
    try:
        cli.main(words.split())
        status = 0
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def finish(words: str, folder: Path) -> int:
    """Run a verb to its end; gives its status."""
    return os.waitstatus_to_exitcode(os.waitpid(begin(words, folder), 0)[1])


def left(folder: Path) -> dict[str, Any]:
    """All that a run left, by name, without what a clock decides. Unfinished files count too."""
    found: dict[str, Any] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(file.relative_to(folder))
        if file.name in ("log.txt", ".lock", "timing.md", "curves.svg"):
            continue  # the report is drawn from the files that are compared
        if file.name.endswith("ledger.json"):
            account = json.loads(file.read_text(encoding="utf-8"))
            kept = ("passes", "flops", "charged_passes", "charged_flops")
            found[name] = {key: account[key] for key in kept}
        elif file.suffix == ".csv":
            table = pd.read_csv(file)
            found[name] = table.drop(columns=[c for c in CLOCK if c in table.columns]).to_csv()
        elif file.suffix == ".npz":
            with np.load(file) as matrix:
                found[name] = {key: matrix[key].tolist() for key in matrix.files if key != "seconds"}
        else:
            found[name] = file.read_bytes()
    return found


def fault(kind: str, number: int) -> Callable[[], None]:
    """What spoils the n-th file that a process writes."""
    count = [0]

    def spoil() -> None:
        write, replace = files.write, Path.replace

        def spoilt(path: Path, save: Callable[[Path], None]) -> None:
            count[0] += 1
            if count[0] != number:
                write(path, save)
                return

            def save_spoilt(part: Path) -> None:
                save(part)
                if kind == "disk full":
                    os.truncate(part, part.stat().st_size // 2)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if kind == "input/output error":
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                if kind == "short write":
                    os.truncate(part, part.stat().st_size // 2)
                    os._exit(9)
                Path.replace = lambda *_: os._exit(9)  # type: ignore[assignment,method-assign]

            write(path, save_spoilt)
            Path.replace = replace  # type: ignore[method-assign]

        files.write = spoilt

    return spoil


@dataclass(frozen=True)
class Case:
    """A verb, the folder it begins in, what it leaves undisturbed, the seconds that takes, its writes."""

    words: str
    fresh: Path
    whole: dict[str, Any]
    seconds: float
    writes: int


def case_of(verb: str, folder: Path) -> Case:
    """Run a verb undisturbed once."""
    fresh, words = folder / f"fresh-{verb}", VERBS[verb]
    fresh.mkdir(parents=True)
    if verb == "evaluate":
        trained = folder / "trained"
        trained.mkdir()
        assert finish(VERBS["train"], trained) == 0, (trained / "log.txt").read_text(encoding="utf-8")
        shutil.copytree(trained / "runs", fresh / "runs")
        checkpoint = next((fresh / "runs").rglob("best.safetensors")).relative_to(fresh)
        words = words.replace("best.safetensors", str(checkpoint))
    place = folder / f"whole-{verb}"
    shutil.copytree(fresh, place)
    counted = folder / f"writes-{verb}"
    start = time.monotonic()
    status = os.waitstatus_to_exitcode(os.waitpid(begin(words, place, counting(counted)), 0)[1])
    assert status == 0, (place / "log.txt").read_text(encoding="utf-8")
    return Case(words, fresh, left(place), time.monotonic() - start, counted.stat().st_size)


def counting(file: Path) -> Callable[[], None]:
    """A byte in a file for each file that a process writes."""

    def count() -> None:
        write = files.write

        def counted(path: Path, save: Callable[[Path], None]) -> None:
            write(path, save)
            with file.open("ab") as tally:
                tally.write(b".")

        files.write = counted

    return count


def trial(case: Case, place: Path, rng: random.Random, kind: str) -> dict[str, Any]:
    """Disturb a run once, or several times for kills, go on to its end, and compare."""
    shutil.copytree(case.fresh, place)
    stopped = 0
    for _ in range(rng.choice([1, 1, 2, 4]) if kind == "kill" else 1):
        if kind == "kill":
            child = begin(case.words, place)
            time.sleep(rng.uniform(0, case.seconds))
            os.kill(child, signal.SIGKILL)
        else:
            child = begin(case.words, place, fault(kind, rng.randint(1, case.writes)))
        stopped += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    status = finish(case.words, place)
    found = left(place) if status == 0 else {}
    odd = sorted(name for name in {*found, *case.whole} if found.get(name) != case.whole.get(name))
    if not odd and status == 0:
        shutil.rmtree(place)
    return {"stopped": stopped, "status": status, "same": not odd and status == 0, "odd": odd[:5]}


def table(records: Records) -> str:
    """The trials as a table."""
    lines = [
        "| disturbed by | verb | trials | stopped in them | the same result |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    about, *trials = records.all()
    for kind, verb in dict.fromkeys((t["kind of stop"], t["verb"]) for t in trials):
        group = [t for t in trials if (t["kind of stop"], t["verb"]) == (kind, verb)]
        same, stopped = sum(t["same"] for t in group), sum(t["stopped"] for t in group)
        lines.append(f"| {kind} | {verb} | {len(group)} | {stopped} | {same} |")
    return "\n".join([*lines, "", f"Machine: {about['machine']}; seed {about['seed']}.", ""])


def main(settings: Settings) -> None:
    """Try what is not tried yet, and write the table."""
    import tempfile

    records = Records(settings.out / "trials.jsonl")
    records.begin({"machine": machine(1), "seed": settings.seed})
    plan = [("kill", number) for number in range(settings.kills)]
    plan += [(FAULTS[number % len(FAULTS)], number) for number in range(settings.faults)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = {verb: case_of(verb, folder) for verb in VERBS}
        for kind, number in plan:
            if records.has(number=number, **{"kind of stop": kind}):
                continue
            rng = random.Random(f"{settings.seed} {kind} {number}")
            verb = list(VERBS)[(number if kind == "kill" else number // len(FAULTS)) % len(VERBS)]
            found = trial(cases[verb], folder / f"{kind}-{number}", rng, kind)
            records.add({"kind of stop": kind, "number": number, "verb": verb, **found})
            print(f"{kind} {number}, {verb}: {found}", flush=True)
    files.write_text(settings.out / "soak.md", table(records))
    print(settings.out / "soak.md")
    if not all(record["same"] for record in records.all()[1:]):
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
