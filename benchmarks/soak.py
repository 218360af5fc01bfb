"""Kills searches, trainings, evaluations and comparisons at random points, and lets file writes fail.

    python -m benchmarks.soak [--kills 100] [--faults 20] --out runs/bench/soak

A trial runs a command on digits, disturbs it by SIGKILL or by a fault of a file write, runs the same command
again to its end, and compares all files with those of an undisturbed run: tickets, weights, metrics,
verdicts, rows, passes and FLOPs, to the byte; only seconds may differ. The point is drawn from the layer
passes and file operations of the undisturbed run, so that every first disturbance comes before the end.
Writes trials.jsonl (a stopped soak resumes) and soak.md. Processes are forked from one that has imported
everything, so that a trial takes seconds.
"""

import errno
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro

from benchmarks.measuring import Records, machine
from robust_tickets.cli import main as cli
from robust_tickets.runs import files

COMMON = (
    "--recipe demo --data.train-images 300 --data.val-images 60 --model.name lenet-300-100 --model.width 0.1 "
    "--search.epochs 2 --search.rounds 2 --search.ratio 0.5 --train.epochs 4 --train.ticket-epochs 2 "
    "--evaluate.images 60 --evaluate.batch 20 --evaluate.val-steps 2 --compute.threads 1 --checkpoint-steps 3"
)
ATTACKS = "--attacks pgd-10 apgd(steps=20) apgd-t(steps=10,targets=3) square(queries=50) --limit 60"
COMMANDS = {
    "search": f"search {COMMON}",
    "train": f"train {COMMON}",
    "evaluate": f"evaluate best.safetensors {ATTACKS}",
    "compare": f"compare {COMMON}",
}
POINTS: dict[str, list[tuple[Any, str]]] = {
    "pass": [(torch.nn.functional, "linear")],
    "file operation": [(tempfile, "mkstemp"), (os, "fsync"), (Path, "replace"), (Path, "unlink")],
    "rename": [(Path, "replace")],
}

REPORT = (".md", ".svg", ".html")
"""What is computed from the other files, seconds among them."""

MACHINE = ("other_cores", "slowdown", "disturbed", "jobs")
"""Columns of tables that say what else the machine did."""


@dataclass(frozen=True)
class Settings:
    """The number of trials."""

    out: Path = Path("runs/bench/soak")
    """folder of the trials and the table"""
    kills: int = 100
    """trials in which processes are killed"""
    faults: int = 20
    """trials in which a file write fails"""
    seed: int = 0
    """seed of points and commands"""


@dataclass
class Disturbance:
    """Calls `act` with a function's first argument before the n-th point of a kind; counts all points."""

    kind: str = ""
    number: int = 0
    act: Callable[[Any], None] = lambda argument: None
    counts: Counter[str] = field(default_factory=Counter)

    def install(self) -> None:
        """Count the calls of all functions of POINTS in this process."""
        for kind, functions in POINTS.items():
            for owner, name in functions:
                setattr(owner, name, self._watch(kind, getattr(owner, name)))

    def _watch(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self.counts[kind] += 1
            if (kind, self.counts[kind]) == (self.kind, self.number):
                self.act(arguments[0] if arguments else None)
            return function(*arguments, **options)

        return watched


def kill(_: object) -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(part: Path) -> None:
    """Cut the file to half and raise the error of a full disk."""
    os.truncate(part, part.stat().st_size // 2)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail_disk(part: Path) -> None:
    """Raise an input/output error."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def cut_short(part: Path) -> None:
    """Cut the file to half and end the process."""
    os.truncate(part, part.stat().st_size // 2)
    os._exit(9)


def crash(part: Path) -> None:
    """End the process before the written file gets its name."""
    os._exit(9)


FAULTS: dict[str, Callable[[Path], None]] = {
    "disk full": fill_disk,
    "input/output error": fail_disk,
    "short write": cut_short,
    "crash before the rename": crash,
}


def run(command: str, folder: Path, disturbance: Disturbance | None = None) -> tuple[int, Counter[str]]:
    """Run a command in a folder, in a process of its own; gives its status and the points that it reached."""
    disturbance = disturbance or Disturbance()
    child = os.fork()
    counts = folder / "points.json"
    if not child:
        os.chdir(folder)
        with (folder / "log.txt").open("a", encoding="utf-8") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        disturbance.install()
        status = 1
        try:
            cli.main(command.split())
            status = 0
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            counts.write_text(json.dumps(disturbance.counts), encoding="utf-8")
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, Counter(json.loads(counts.read_text(encoding="utf-8")) if status == 0 else {})


def artefacts(folder: Path) -> dict[str, Any]:
    """The contents of all files of a run by name, unfinished ones too, without seconds."""
    contents: dict[str, Any] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(file.relative_to(folder))
        if file.name in ("log.txt", "points.json", ".lock") or file.suffix in REPORT:
            continue
        if file.name.endswith("ledger.json"):
            ledger = json.loads(file.read_text(encoding="utf-8"))
            keys = ("passes", "flops", "charged_passes", "charged_flops")
            contents[name] = {key: ledger[key] for key in keys}
        elif file.suffix == ".csv":
            table = pd.read_csv(file)
            seconds = [column for column in table.columns if "seconds" in column or column.endswith("_s")]
            contents[name] = table.drop(columns=[*seconds, *MACHINE], errors="ignore").to_csv()
        elif file.suffix == ".npz":
            with np.load(file) as matrix:
                contents[name] = {key: matrix[key].tolist() for key in matrix.files if key != "seconds"}
        else:
            contents[name] = file.read_bytes()
    return contents


@dataclass(frozen=True)
class Case:
    """A command, the folder in which it starts, and the artefacts and points of its undisturbed run."""

    command: str
    start: Path
    artefacts: dict[str, Any]
    points: Counter[str]


def prepare_case(name: str, folder: Path) -> Case:
    """Run a command without disturbance."""
    start, place, command = folder / f"start-{name}", folder / f"whole-{name}", COMMANDS[name]
    start.mkdir(parents=True)
    if name == "evaluate":
        _check(run(COMMANDS["train"], start)[0], start)
        checkpoint = next(start.rglob("best.safetensors")).relative_to(start)
        command = command.replace("best.safetensors", str(checkpoint))
    shutil.copytree(start, place)
    status, points = run(command, place)
    _check(status, place)
    return Case(command, start, artefacts(place), points)


def _check(status: int, folder: Path) -> None:
    if status:
        sys.exit((folder / "log.txt").read_text(encoding="utf-8"))


def trial(case: Case, place: Path, rng: random.Random, kind: str) -> dict[str, Any]:
    """Disturb a command (kill it up to four times), run it again to its end, and compare its artefacts."""
    shutil.copytree(case.start, place)
    stops = 0
    for _ in range(rng.choice([1, 1, 2, 4]) if kind == "kill" else 1):
        point = rng.choice(["pass", "file operation"]) if kind == "kill" else "rename"
        act = kill if kind == "kill" else FAULTS[kind]
        status, _ = run(case.command, place, Disturbance(point, rng.randint(1, case.points[point]), act))
        if status == 0:  # a resumed run has fewer points
            break
        stops += 1
    status, _ = run(case.command, place)
    end = artefacts(place)
    differences = [
        name for name in sorted({*end, *case.artefacts}) if end.get(name) != case.artefacts.get(name)
    ]
    same = status == 0 and not differences
    if same:
        shutil.rmtree(place)
    return {"stops": stops, "status": status, "same": same, "differences": differences[:5]}


def table(records: Records) -> str:
    """The trials as a table."""
    lines = [
        "| disturbance | command | trials | trials with a stop | stops | same result |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    about, *trials = records.all()
    for kind, command in dict.fromkeys((t["disturbance"], t["command"]) for t in trials):
        group = [t for t in trials if (t["disturbance"], t["command"]) == (kind, command)]
        stopped, stops = sum(t["stops"] > 0 for t in group), sum(t["stops"] for t in group)
        same = sum(t["same"] for t in group)
        lines.append(f"| {kind} | {command} | {len(group)} | {stopped} | {stops} | {same} |")
    return "\n".join([*lines, "", f"Machine: {about['machine']}; seed {about['seed']}.", ""])


def main(settings: Settings) -> None:
    """Run the missing trials and write the table. Exits with 1 where a trial had no stop or differs."""
    records = Records(settings.out / "trials.jsonl")
    records.begin({"machine": machine(1), "seed": settings.seed})
    plan = [("kill", number) for number in range(settings.kills)]
    plan += [(list(FAULTS)[number % len(FAULTS)], number) for number in range(settings.faults)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = {command: prepare_case(command, folder) for command in COMMANDS}
        for kind, number in plan:
            if records.has(number=number, disturbance=kind):
                continue
            rng = random.Random(f"{settings.seed} {kind} {number}")
            command = list(COMMANDS)[(number if kind == "kill" else number // len(FAULTS)) % len(COMMANDS)]
            result = trial(cases[command], folder / f"{kind}-{number}", rng, kind)
            records.add({"disturbance": kind, "number": number, "command": command, **result})
            print(f"{kind} {number}, {command}: {result}", flush=True)
    files.write_text(settings.out / "soak.md", table(records))
    print(settings.out / "soak.md")
    if not all(record["same"] and record["stops"] for record in records.all()[1:]):
        sys.exit(1)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
