"""Single attacks on a device, short and long, with a look at the device in each step or without."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from device_case import experiment
from safetensors.torch import save_file
from torch import Tensor
from watch import Watch

from robust_tickets.attacks import RunOptions
from robust_tickets.attacks.record import AttackRecord
from robust_tickets.attacks.text import parse
from robust_tickets.data.batches import to_float

PHASE = "one attack"
STEPS = {"short": 3, "long": 8}
ATTACKS = {"pgd": "pgd(steps={})", "apgd": "apgd(steps={})", "square": "square(queries={})"}


def attack(device: str, folder: Path, text: str, stop: bool, planted: bool = False) -> None:
    """One attack in three blocks; planted: with a look at the device in each step."""
    work = experiment(device)
    work.prepare()
    net, split = work.fresh_net(0).eval(), work.load().test
    images, labels = to_float(split.images[:12], channels_last=True), split.labels[:12]
    options, built = RunOptions(stop_when_broken=stop, block=4), parse(text, replace(work.threat, eps=1e-4))
    note = AttackRecord.note

    def with_wait(record: AttackRecord, rows: Tensor, images: Tensor, wrong: Tensor) -> Tensor:
        return note(record, rows[rows >= 0] if planted else rows, images, wrong)

    with patch.object(AttackRecord, "note", with_wait):
        Watch.phases.append(PHASE)
        result = built.run(net, images, labels, seed=0, options=options)
        Watch.phases.pop()
    save_file({"images": result.images.cpu().contiguous()}, folder / "images.safetensors")
