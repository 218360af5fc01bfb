"""Freed memory is used again."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from robust_tickets.base.memory import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for number, mebibytes in [(16, 8), (4, 20), (4, 30)] * 10:
        maps = [torch.ones(mebibytes * 2**18) for _ in range(number)]
        del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
print(keep_freed_memory())
new_pages()
print(new_pages())
"""
WRITTEN = 10 * (16 * 8 + 4 * 20 + 4 * 30) * 2**20 // 4096
"""Pages that the program writes to."""

ADDR_NO_RANDOMIZE = 0x0040000  # personality(2)

STINGY = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
"""Makes glibc return all that it can; else that depends on the heap's state."""


def fixed_addresses() -> None:
    """Fix the heap's address: it cannot grow beyond its neighbour, and then takes new pages."""
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is tuned")
def test_new_tensors_take_no_new_pages() -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **STINGY},
        preexec_fn=fixed_addresses,
        capture_output=True,
        text=True,
        check=True,
    )
    agreed, pages = process.stdout.split()
    assert agreed == "True"
    assert int(pages) < WRITTEN / 100
