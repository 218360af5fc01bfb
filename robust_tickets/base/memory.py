"""CPU memory: keeps the memory of freed tensors for the next ones."""

import ctypes
import platform
from functools import lru_cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_* of glibc's malloc.h
_ALL = 2**31 - 1  # bytes: the largest value that the call takes
_LARGEST = 32 * 2**20  # bytes: the largest value that glibc allows


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let the process keep up to 2 GiB of freed memory, for tensors of up to 32 MiB.

    By default glibc returns the feature maps of a batch to the system, which gives the next batch new pages
    and fills them with zeros first. Gives whether glibc agreed; other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _ALL))
