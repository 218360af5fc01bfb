"""Errors of memory and of GPUs, as one line that says what to do."""

import sys

_NO_MEMORY = (  # CUDA, XPU and MPS; the CPU's allocator; cuDNN and cuBLAS
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the host, has no memory left."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def is_device_error(error: BaseException) -> bool:
    """Whether an error is of memory, or of a GPU that failed, and not of the code that ran."""
    torch = sys.modules.get("torch")
    return is_out_of_memory(error) or bool(torch and isinstance(error, torch.AcceleratorError))


def device_message(error: BaseException | None) -> str | None:
    """A line on an error of the device, or on one that caused it; None for an error that is no such."""
    while error is not None and not is_device_error(error):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    if is_out_of_memory(error):
        return (
            f"out of memory ({reason}): lower train.batch and search.batch, or evaluate.batch (of the command "
            "evaluate: --batch), or run fewer jobs; what is done is kept"
        )
    return f"the device failed ({reason}): what is done is kept; run the same command again to resume"
