"""Errors of memory and of GPUs, as one line that says what to do."""

import sys

_OF_A_GPU = ("out of memory", "ALLOC_FAILED")  # CUDA, XPU and MPS; cuDNN and cuBLAS
_OF_THE_HOST = ("can't allocate memory", "not enough memory")


def is_device_error(error: BaseException) -> bool:
    """Whether an error is of a GPU, or of its memory, and not of the code that ran."""
    torch = sys.modules.get("torch")
    return bool(torch and isinstance(error, torch.AcceleratorError)) or _has_no_memory(error, _OF_A_GPU)


def device_message(error: BaseException | None) -> str | None:
    """A line on an error of a device or of memory, or a GPU's that caused another; None for others."""
    if isinstance(error, MemoryError) or (error and _has_no_memory(error, _OF_THE_HOST)):
        return _out_of_memory(error)
    # not the host's errors: a damaged file that asks for too much memory is said to be damaged
    while error is not None and not is_device_error(error):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    if _has_no_memory(error, _OF_A_GPU):
        return _out_of_memory(error)
    return f"the device failed ({_reason(error)}): what is done is kept; run the same command again to resume"


def _has_no_memory(error: BaseException, words: tuple[str, ...]) -> bool:
    torch = sys.modules.get("torch")
    if torch and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _out_of_memory(error: BaseException) -> str:
    return (
        f"out of memory ({_reason(error)}): lower train.batch and search.batch, or evaluate.batch (of the "
        "command evaluate: --batch), or run fewer jobs; what is done is kept"
    )


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
