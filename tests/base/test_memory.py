"""Freed memory stays with the process."""

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
"""Has glibc give back whatever it can; without it, that is a matter of luck."""


def fixed_addresses() -> None:
    """What the heap lies next to is a matter of luck too: it cannot grow beyond that, and then maps anew."""
    ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory as it will")
def test_tensors_are_made_of_pages_that_the_process_has() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **STINGY},
        preexec_fn=fixed_addresses,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, pages = done.stdout.split()
    assert kept == "True"
    assert int(pages) < WRITTEN / 100
