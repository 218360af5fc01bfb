"""Runs parts of the project on the CPU and on the simulated device, in a process of its own.

    python device_work.py [--without-float64] PART...

Prints one JSON line: for each part what differs from the CPU's bits, the waits by phase, and lines on the
waits of training steps.
"""

import json
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import simulated_device
from compared_files import differences
from device_parts import PARTS
from watch import Watch, follow_phases

from robust_tickets.base import devices

STEPS = tuple(f"{stage} {phase}" for stage in ("search", "train") for phase in ("attack", "update"))


@dataclass
class Outcome:
    """What a part did on the simulated device.

    differences: files, and tensors in them, that are not as the CPU's.
    waits: by phase of the ledger; lines: those of training steps, one each.
    error: of the simulated device, where the part failed.
    """

    differences: list[str] = field(default_factory=list)
    waits: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    error: str = ""


def run_part(name: str) -> Outcome:
    """Run a part on both devices, and compare the files that it leaves."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as place:
        for device in ("cpu", simulated_device.NAME):
            folder = Path(place, device)
            folder.mkdir()
            watch = Watch()
            try:
                if device == "cpu":
                    PARTS[name](device, folder)
                else:
                    with watch:
                        PARTS[name](device, folder)
            except Exception as error:
                if device == "cpu":
                    raise
                outcome.error = f"{type(error).__name__}: {error}"
        if not outcome.error:
            outcome.differences = differences(Path(place, "cpu"), Path(place, simulated_device.NAME))
        outcome.waits = watch.by_phase()
        outcome.lines = watch.lines(*STEPS)
    return outcome


def main() -> None:
    """Run the parts that the command line names."""
    warnings.simplefilter("ignore")
    simulated_device.start()
    follow_phases()
    devices.KINDS.append(simulated_device.NAME)
    simulated_device.MODULE.refuses_float64 = "--without-float64" in sys.argv
    parts = [word for word in sys.argv[1:] if not word.startswith("--")]
    print(json.dumps({name: asdict(run_part(name)) for name in parts}))


if __name__ == "__main__":
    main()
