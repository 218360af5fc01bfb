"""The devices that PyTorch computes on: those that are accepted, and what depends on their kind."""

import platform
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.lazy import torch

KINDS = ["cpu", "cuda", "mps", "xpu"]
"""Kinds of device that are accepted: CPUs, and GPUs of NVIDIA and AMD, of Apple, and of Intel."""

DRIVER_FILES = ("/proc/driver/nvidia/version", "/sys/module/amdgpu/version")

UNTRIED = ("mps", "xpu")
"""Kinds that nobody has run this project on."""


def device_kind(device: str) -> str:
    """The kind of a torch device, given as text. Raises InputError for one that cannot be used."""
    try:
        kind = torch.empty(0, device=device).device.type
    except (RuntimeError, AssertionError, ImportError, AttributeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise InputError(f"device {device!r} cannot be used ({reason}): try --device cpu") from None
    if kind not in KINDS:
        raise InputError(f"device {device!r} cannot be used ({', '.join(KINDS)} can): try --device cpu")
    if kind == "cpu" and device != "cpu":
        raise InputError(f"device {device!r} cannot be used (there is one cpu): give --device cpu")
    return kind


def device_module(device: str) -> Any:
    """The module of torch for a kind of device, or a device: `torch.cuda` for "cuda:1"."""
    return torch.get_device_module(device.partition(":")[0])


def device_in_use() -> tuple[str, int] | None:
    """Kind and index of the GPU that this process computes on; None where it uses none. Starts no GPU."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        return None
    module = device_module(accelerator.type)
    # torch.mps cannot tell whether it was used
    if not getattr(module, "is_initialized", module.is_available)():
        return None
    return accelerator.type, module.current_device() if hasattr(module, "current_device") else 0


def numbered_devices(device: str) -> tuple[str, ...]:
    """A device; for a kind of GPU without a number the current one, then all others of the same description.

    What cannot be used is given back, to be refused where it is prepared.
    """
    if device not in KINDS or device == "cpu":
        return (device,)
    try:
        module = device_module(device)
        if not hasattr(module, "current_device") or not module.is_available():
            return (device,)
        current = module.current_device()
        numbers = [current, *(index for index in range(module.device_count()) if index != current)]
        devices = [f"{device}:{index}" for index in numbers]
        description = describe_gpu(devices[0])
        return tuple(each for each in devices if describe_gpu(each) == description)
    except (RuntimeError, AssertionError, ImportError):
        return (device,)


def device_name(device: str) -> str:
    """The name of a device, for messages and descriptions of a machine."""
    if device == "cpu":
        return f"this CPU ({platform.machine()})"
    module = device_module(device)
    index = torch.device(device).index
    return str(module.get_device_name(index)) if hasattr(module, "get_device_name") else "this Mac's GPU"


def prepare_cuda() -> None:
    """Let the same recipe give the same bits on a GPU of NVIDIA, and float32 be float32.

    By default cuDNN computes convolutions of float32 with the 10 bits of TF32.
    """
    cudnn: Any = torch.backends.cudnn
    cudnn.deterministic = True
    cudnn.benchmark = False  # it would choose among deterministic algorithms by their time
    _set_tf32(False)


def has_tf32(device: str) -> bool:
    """Whether a device has instructions for TF32: GPUs of NVIDIA from Ampere on."""
    if device.partition(":")[0] != "cuda" or torch.version.hip:
        return False
    return bool(torch.cuda.get_device_capability(device)[0] >= 8)


@contextmanager
def tf32() -> Iterator[None]:
    """Within the block, convolutions and products of float32 have the 10 bits of TF32 on a GPU."""
    _set_tf32(True)
    try:
        yield
    finally:
        _set_tf32(False)


def _set_tf32(on: bool) -> None:
    # old switches and new ones must agree: torch.compile reads old ones, which raise otherwise. The old
    # ones alone would let convolutions inherit TF32 from torch.backends.fp32_precision
    cudnn: Any = torch.backends.cudnn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old switches
        torch.set_float32_matmul_precision("high" if on else "highest")
        cudnn.allow_tf32 = on
        cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "tf32" if on else "ieee"


def describe_gpu(device: str) -> dict[str, Any]:
    """What a GPU's results and seconds depend on; empty for the CPU."""
    if device == "cpu":
        return {}
    description: dict[str, Any] = {"gpu": device_name(device)}
    if device.partition(":")[0] == "cuda":
        properties = torch.cuda.get_device_properties(device)
        cudnn: Any = torch.backends.cudnn
        precisions = cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
        description |= {
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,  # of the slice of a GPU that is shared (MIG)
            "gpu_memory": properties.total_memory,
            "mig": description["gpu"].partition(" MIG ")[2],  # the profile of such a slice, as 1g.10gb
            "driver": _driver(),
            "cuda": torch.version.cuda or torch.version.hip,
            "cudnn": cudnn.version(),
            "tf32": "tf32" in precisions,
            "cudnn_deterministic": cudnn.deterministic,
            "cudnn_benchmark": cudnn.benchmark,
        }
    return description


def _driver() -> str:
    """The version of the GPU's driver, of NVIDIA or AMD; empty where the system does not tell."""
    for file in DRIVER_FILES:
        try:
            version = re.search(r"\d+(\.\d+)+", Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if version:
            return version[0]
    return ""


def has_bfloat16(device: str) -> bool:
    """Whether a device computes in bfloat16 by instructions of its own."""
    if device == "cpu":
        # oneDNN also takes bfloat16 where it has to emulate it, which is slower than float32
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        arm = platform.machine() in ("aarch64", "arm64")
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported() and (native or arm))
    if device.partition(":")[0] == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    return bool(device_module(device).is_bf16_supported(including_emulation=False))
