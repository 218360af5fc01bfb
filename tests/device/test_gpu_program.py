"""`make gpu`, tried on the CPU: every part ends, holds what it must, and is not measured again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_result import COMPARISON
from benchmarks.gpu_table import table
from benchmarks.measuring import Records
from robust_tickets.cli.parse import parse

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_all_parts_hold_on_a_cpu_and_are_done_once(tmp_path: Path) -> None:
    out = tmp_path / "gpu"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--out", str(out)]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    figures = (out / "figures.jsonl").read_text()
    records = list(map(json.loads, figures.splitlines()))
    ends = [record["part"] for record in records if record["kind"] == "end"]
    assert ends == ["about", "parity", "exact", "waits", "ceilings", "steps", "result"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (out / "figures.jsonl").read_text() == figures


def test_a_gpu_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cuda:63", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("device 'cuda:63' cannot be used")
    assert len(done.stderr.splitlines()) == 1


def test_the_table_has_a_section_a_part_and_ratios_of_one_batch(tmp_path: Path) -> None:
    records = Records(tmp_path / "figures.jsonl")
    records.begin({"machine": {"gpu": "H100", "torch": "2.14", "tiny": False}})
    for part, name, value, holds in (
        ("parity", "logits", "1e-03", False),
        ("steps", "batch 128: torchattacks, as documented", {"ms": 60.0}, None),
        ("steps", "batch 128: bare passes, bfloat16", {"ms": 10.0}, None),
        ("steps", "batch 128: ours, bfloat16", {"ms": 12.0}, None),
    ):
        figure = {"kind": "figure", "part": part, "name": name, "value": value, "holds": holds}
        records.add(figure)
    for part in ("parity", "steps"):
        records.add({"kind": "end", "part": part, "seconds": 3.0})
    text = table(records)
    assert "| logits | 1e-03 | **not as it has to be** |" in text
    assert "| batch 128: ours, bfloat16 | 5.00 | 1.20 |" in text


def test_the_comparison_of_the_second_call_is_a_command() -> None:
    command, *flags = COMPARISON.split()
    parse(command, flags)
