"""The tables of benchmarks/scale.py, from scale.json alone."""

import json
from pathlib import Path
from typing import Any

HOUR, DAY = 3600.0, 86400.0


def table(file: Path) -> str:
    """Hours by number of devices; then what a lost device costs, and what is moved."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    lines = [
        f"{found['recipe']} ({found['network']}), {found['seeds']} seeds: {found['tasks']} trainings, "
        f"{found['flops']:.3g} FLOPs with validation and evaluation (as if no attack broke an image).",
        "",
        "| device | devices | days | share of them that is used | days over the lower bound |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for device, times in found["times"].items():
        for number, seconds in times["makespan"].items():
            used = times["work"] / (int(number) * seconds)
            bound = max(times["work"] / int(number), times["chain"])
            lines.append(
                f"| {device} | {number} | {seconds / DAY:,.2f} | {used:.0%} | {seconds / bound:.3f} |"
            )
    return "\n".join([*lines, "", *_notes(found), ""])


def _notes(found: dict[str, Any]) -> list[str]:
    lost = found["checkpoint_minutes"] * 60 / 2 + found["start_seconds"]
    state, minute = found["state_bytes"], found["checkpoint_minutes"] * 60
    rates = ", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in found["rates"].items())
    chains = ", ".join(f"{name} {times['chain'] / DAY:.2f} days" for name, times in found["times"].items())
    every = f"{found['checkpoint_minutes']:g} min"
    return [
        f"The longest chain of trainings that wait for one another: {chains}; no number of devices takes "
        f"less. Rates: {rates}. The lower bound is the larger of the chain and of the work over the "
        "devices.",
        "",
        f"**A lost device** costs {lost:.0f} s on average: half of what lies between two states ({every}), "
        f"and {found['start_seconds']:g} s to start a process. Lost once a day each, devices lose "
        f"{lost / DAY:.2%} of their time.",
        "",
        f"**What is moved**: a ticket {_size(found['ticket_bytes'])}, a checkpoint "
        f"{_size(found['checkpoint_bytes'])}, a state {_size(state)}. A state takes "
        f"{found['state_seconds']:g} s to write here, every {every}: from 64 devices "
        f"{_size(64 * state / minute)} a second.",
        "",
        f"Machine: {found['machine']}.",
    ]


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
