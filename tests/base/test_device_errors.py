"""What a GPU, or memory, fails with is one line; other errors stay as they are."""

import pytest
import torch

from robust_tickets.base.device_errors import device_message, is_device_error
from robust_tickets.base.errors import InputError

NO_MEMORY = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has 80 GiB"),
    "CUDA, at a later call": torch.AcceleratorError("CUDA error: out of memory"),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 9 GB, other allocations: 1 GB)"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "host": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"
    ),
    "NumPy": MemoryError("Unable to allocate 8.00 GiB for an array"),
    "Python": MemoryError(),
}


@pytest.mark.parametrize("name", NO_MEMORY)
def test_a_lack_of_memory_is_one_line_that_says_what_to_lower(name):
    message = device_message(NO_MEMORY[name])
    assert message.startswith("out of memory (")
    assert "\n" not in message
    for word in ("train.batch", "search.batch", "evaluate.batch", "is kept"):
        assert word in message


def test_another_failure_of_a_gpu_is_one_line():
    message = device_message(
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nx")
    )
    assert message.startswith("the device failed (CUDA error: an illegal memory access was encountered): ")
    assert "\n" not in message


def test_the_cause_of_a_message_is_found():
    error = InputError("the network cannot be copied")
    error.__cause__ = NO_MEMORY["CUDA"]
    assert device_message(error).startswith("out of memory (CUDA out of memory. Tried")


def test_a_damaged_file_that_asks_for_all_memory_stays_a_damaged_file():
    for cause in (NO_MEMORY["host"], NO_MEMORY["NumPy"]):
        error = InputError("weights.pt is damaged")
        error.__cause__ = cause
        assert device_message(error) is None


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("no"), KeyError("out of memory")]
)
def test_other_errors_are_left_alone(error):
    assert device_message(error) is None
    assert not is_device_error(error)
