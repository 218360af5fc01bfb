"""The last part of `benchmarks.gpu`, ResNet-18 trained and judged, and the comparison of its second call."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu_figures import SPEC, THREAT, Gpu, noise_data, tf32
from robust_tickets.base.ledger import Ledger, clock_for
from robust_tickets.base.progress import LineProgress
from robust_tickets.data.batches import steps_per_epoch
from robust_tickets.data.dataset import Dataset
from robust_tickets.data.load import load
from robust_tickets.evaluation.evaluate import EvaluationConfig, evaluate
from robust_tickets.models.fold import fold
from robust_tickets.recipe.fields import Compute, Data, Evaluate
from robust_tickets.recipe.training_fields import Train
from robust_tickets.training.config import Session, TrainingConfig
from robust_tickets.training.loop import fit
from robust_tickets.training.methods.pgd import PGDSettings

IMAGES = "ROBUST_TICKETS_CIFAR10"
EPOCHS = 30
JUDGING = 60.0
"""Seconds that the judgement may take."""

COMPARISON = (
    "compare --recipe rivals-resnet18 --search.epochs 3 --train.epochs 15 --train.ticket-epochs 15 "
    "--evaluate.images 1000 --evaluate.aa-images 1000 --compute.precision bf16 --seeds 1"
)


def result(gpu: Gpu) -> None:
    """ResNet-18 by PGD-10 in bfloat16: as many epochs as fit, then the test images, with TF32 and without."""
    data = _images(gpu)
    batch = 8 if gpu.tiny else 128
    per_epoch = steps_per_epoch(len(data.train), batch)
    epochs = 1 if gpu.tiny else _epochs(gpu, per_epoch)
    settings = Train(
        pgd=PGDSettings(steps=gpu.pgd_steps, rel_step=0.25),
        epochs=epochs,
        batch=batch,
        lr=0.2,
        schedule="one-cycle",
        weight_decay=5e-4,
    )
    validation = Evaluate(val_steps=10, batch=1000, early_epochs=0)
    compute = Compute(precision="bf16")
    config = TrainingConfig(settings, per_epoch * epochs, THREAT, validation, compute, seed=0)
    net, ledger = gpu.net(), Ledger("train", clock_for(gpu.device))
    with ledger.measure(), LineProgress().stage("ResNet-18", config.steps) as meter:
        trained = fit(net, None, data, config, Session(ledger, meter=meter))
    seconds = {phase: round(taken, 2) for phase, taken in ledger.seconds.items() if taken}
    gpu.add("result", f"seconds by phase; epochs: {epochs}, of {len(data.train):,} images", seconds)
    net.load_state_dict(trained.last)
    test = EvaluationConfig(THREAT, batch=40 if gpu.tiny else 1000, channels_last=True)
    for on in (False, True):
        with tf32(on):
            for row in evaluate(fold(net, SPEC.shape), data.test, ["clean", "fgsm", "pgd-20"], test):
                name = (
                    f"test, last epoch, {row.attack}, {'with' if on else 'without'} TF32: accuracy, seconds"
                )
                gpu.add("result", name, [round(row.accuracy, 4), round(row.seconds, 2)])


def _images(gpu: Gpu) -> Dataset:
    """CIFAR-10 where the environment says where it lies; else, or for a trial, noise."""
    if gpu.tiny or not os.environ.get(IMAGES):
        if not gpu.tiny:
            print(f"{IMAGES} is not set: the training is on noise, and its accuracies mean nothing")
        return noise_data(64 if gpu.tiny else 49_000, gpu.device)
    data = load(Data("cifar10", val_images=1000), print)
    return replace(data, **{name: getattr(data, name).to(gpu.device) for name in ("train", "val", "test")})


def _epochs(gpu: Gpu, per_epoch: int) -> int:
    """How many epochs fit, by the step that was timed."""
    title = "batch 128: ours, bfloat16"
    known = [record["value"]["ms"] for record in gpu.records.all() if record.get("name") == title]
    seconds = per_epoch * (known[0] if known else 25.0) / 1000 + 2
    return max(1, min(EPOCHS, int((gpu.seconds_left - JUDGING) / seconds)))


def compare(gpu: Gpu, out: Path) -> None:
    """The comparison of rivals-resnet18, shortened; stopped when no time is left, and resumed next time."""
    command = [sys.executable, "-m", "robust_tickets", *COMPARISON.split()]
    command += ["--device", gpu.device, "--runs", str(out / "runs")]
    print(" ".join(command[2:]), flush=True)
    with subprocess.Popen(command) as process:
        try:
            status = process.wait(max(1.0, gpu.seconds_left - 20))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
            print("no time is left: the same command goes on with the comparison")
            return
    gpu.add("comparison", "rivals-resnet18 at 15 epochs", "done" if status == 0 else f"status {status}")
