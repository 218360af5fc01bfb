"""What many seeds of a large network take on many devices, what a lost device costs, and what is moved.

    python -m benchmarks.scale --out runs/bench/scale

Passes and FLOPs are arithmetic. Their rate is timed here, and read from the figures of `make gpu` where they
are given. Sizes are those of files that are written here; the start of a process is timed. Writes scale.json
and scale.md.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.measuring import Records, machine
from benchmarks.scale_table import table
from robust_tickets.attacks import ThreatModel
from robust_tickets.base.ledger import Ledger
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.comparison.estimate import estimate
from robust_tickets.comparison.schedule import TimedTask, chain, makespan
from robust_tickets.data.dataset import Dataset, Split
from robust_tickets.pruning.mask import Mask
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Evaluate
from robust_tickets.runs.files import write_json, write_text
from robust_tickets.stages.experiment import Experiment
from robust_tickets.training.checkpointer import Checkpointer
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit
from robust_tickets.training.methods.pgd import PGDSettings


@dataclass(frozen=True)
class Settings:
    """What is asked."""

    out: Path = Path("runs/bench/scale")
    """folder of the results"""
    recipe: str = "paper-wrn34-10"
    """the comparison"""
    seeds: int = 100
    """its seeds"""
    devices: tuple[int, ...] = (1, 8, 64, 512)
    """numbers of devices"""
    gpu: Path | None = None
    """figures.jsonl of `make gpu`, for the rate of a GPU"""
    threads: int = 2
    """CPU threads"""


def main(settings: Settings) -> None:
    """Time what is timed, and write the table."""
    recipe = recipes.load(settings.recipe)
    recipe = replace(recipe, compute=replace(recipe.compute, threads=settings.threads))
    experiment = Experiment(recipe, machine=Machine("cpu", SilentProgress()))
    costs = estimate(experiment, settings.seeds)
    if costs.warning:
        sys.exit(f"{costs.warning}: measure on a quiet machine")
    flops = float(costs.rows.flops.sum()) * settings.seeds
    seconds = costs.seconds + costs.evaluation_seconds
    rates = {"this machine": flops / seconds, **_gpu_rates(settings.gpu)}
    write_json(
        settings.out / "scale.json",
        {
            "machine": machine(settings.threads),
            "recipe": settings.recipe,
            "network": recipe.model.name,
            "seeds": settings.seeds,
            "tasks": len(costs.tasks),
            "flops": flops,
            "rates": rates,
            "times": {
                name: _times(costs.tasks, settings.devices, rates["this machine"] / rate)
                for name, rate in rates.items()
            },
            "start_seconds": _start_seconds(),
            "checkpoint_minutes": Machine("cpu", SilentProgress()).checkpoint_minutes,
            **_files(experiment),
        },
    )
    write_text(settings.out / "scale.md", table(settings.out / "scale.json"))
    print(settings.out / "scale.md")


def _times(tasks: tuple[TimedTask, ...], devices: tuple[int, ...], scale: float) -> dict[str, Any]:
    """Seconds on so many devices and of the longest chain; scale: of the tasks' own seconds."""
    scaled = [replace(task, seconds=task.seconds * scale) for task in tasks]
    return {
        "work": sum(task.seconds for task in scaled),
        "chain": chain(scaled),
        "makespan": {str(number): makespan(scaled, number) for number in devices},
    }


def _gpu_rates(file: Path | None) -> dict[str, float]:
    """FLOPs a second of a training step in bfloat16 on the GPU of `make gpu`, by its name."""
    if file is None:
        return {}
    about, *rows = Records(file).all()
    steps = (row for row in rows if row.get("name") == "batch 128: ours, bfloat16")
    return {about["machine"]["gpu"]: 1e12 * next(steps)["value"]["TFLOP/s"]}


def _start_seconds() -> float:
    """Seconds until a new process has imported what a task needs, when the files are in memory."""
    command = [sys.executable, "-c", "import robust_tickets.comparison.jobs"]
    for _ in range(2):
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - begin
    return round(seconds, 1)


def _files(experiment: Experiment) -> dict[str, Any]:
    """Bytes of a ticket, a checkpoint and a training state, and the seconds to write a state."""
    net, spec = experiment.fresh_net(0), experiment.spec
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (6, *spec.shape), generator=generator, dtype=torch.uint8)
    images = Split(pixels, torch.arange(6), torch.arange(6))
    data = Dataset(spec, "noise", images, images, images, "")
    train = replace(experiment.recipe.train, pgd=PGDSettings(steps=1), batch=2, warmup=0.0)
    compute = experiment.recipe.compute
    evaluate = Evaluate(val_steps=1, early_epochs=0)
    config = TrainingConfig(train, 3, ThreatModel("Linf", 8 / 255), evaluate, compute, seed=0)
    ledger = Ledger("train")
    with tempfile.TemporaryDirectory() as folder, ledger.measure():
        session = Session(ledger, checkpointer=Checkpointer(Path(folder), steps=1))
        result = fit(net, None, data, config, session)
        state = max(file.stat().st_size for file in Path(folder).iterdir())
    weights = sum(tensor.numel() * tensor.element_size() for tensor in result.last.values())
    return {
        "checkpoint_bytes": weights,
        "ticket_bytes": weights + sum(bits.numel() for bits in Mask.full(net).pack().values()),
        "state_bytes": state,
        "state_seconds": round(ledger.seconds["checkpoint"] / 2, 2),  # before the second and the third step
    }


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
