"""Memory of a process on a CPU: what tensors free is kept for the next ones."""

import ctypes
import platform
from functools import lru_cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_* of glibc's malloc.h
_ALL = 2**31 - 1  # bytes: the largest that the call takes
_LARGEST = 32 * 2**20  # bytes: the largest that glibc allows for


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let the process keep up to 2 GiB of what it frees, tensors of up to 32 MiB; whether that could be done.

    By default glibc gives the feature maps of a batch back to the system, which hands the next batch new
    pages, each filled with zeros first. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _ALL))
