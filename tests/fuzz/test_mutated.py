"""Damaged files: each is refused with an InputError or is a valid object.

No crash, no hang, no other exception, and no gigabyte of memory for a small file. They are read in processes
of their own, whose address space is limited.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from reading import KINDS

SCRIPT = Path(__file__).with_name("reading.py")


def read(folder: Path, files: int, *kinds: str) -> None:
    """Read so many damaged files of each kind; at least a quarter must be refused."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(files), str(folder), *kinds],
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    counts = [line.split() for line in process.stdout.splitlines()]
    assert [kind for kind, _ in counts] == list(kinds)
    assert all(int(refused) > files // 4 for _, refused in counts)


def test_three_hundred_damaged_files(tmp_path: Path) -> None:
    read(tmp_path, 34, *KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_damaged_files(kind: str, tmp_path: Path) -> None:
    read(tmp_path, 1112, kind)
