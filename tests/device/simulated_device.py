"""A simulated GPU: tensors that say they lie on `simulated:0`, and compute in host memory.

    simulated_device.start()  # before the first backward pass of the process, which counts the devices
    with Watch() as watch:
        net.to("simulated")
        ...
    watch.waits

Numbers are the CPU's, bit for bit. What CUDA refuses is refused: two devices in one operation, a generator of
the host for tensors of the device, `numpy()`. The device has a random state of its own, as a GPU has. Not
simulated: kernels and their rounding (but that of divisions by a number of the host, which CUDA and XPU take
as products with its reciprocal), streams, the device's memory.
"""

from typing import Any

import torch
from device_module import DeviceModule
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_flatten, tree_map
from watch import INDEXING, Watch

NAME = "simulated"
TO_COPY, COPY = "aten._to_copy.default", "aten.copy_.default"
COPIES = {TO_COPY, COPY, "aten.copy.default", "aten._copy_from.default"}

PRODUCTS = {
    torch.ops.aten.div.Tensor: torch.ops.aten.mul.Tensor,
    torch.ops.aten.div_.Tensor: torch.ops.aten.mul_.Tensor,
    torch.ops.aten.div.Scalar: torch.ops.aten.mul.Tensor,
    torch.ops.aten.div_.Scalar: torch.ops.aten.mul_.Tensor,
}
"""Division -> the product that takes its place, with the reciprocal in float32, for a divisor of the host."""

MODULE = DeviceModule(NAME)
_setup = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)


def is_possible() -> bool:
    """Whether this version of PyTorch can register a device that is written in Python."""
    return _setup is not None


def start() -> None:
    """Register the device."""
    from autocast import register_autocast
    from torch.optim.optimizer import _foreach_supported_types

    _setup(NAME, MODULE)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    # as on CUDA, optimisers take their multi-tensor way
    _foreach_supported_types.append(SimulatedTensor)
    register_autocast(NAME)


class DeviceError(RuntimeError):
    """What CUDA would raise too."""


class SimulatedTensor(Tensor):
    """A tensor on the simulated device; `memory` is what it holds, a tensor on the host."""

    memory: Tensor

    @staticmethod
    def __new__(cls, memory: Tensor, requires_grad: bool = False) -> "SimulatedTensor":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            memory.shape,
            strides=memory.stride(),
            storage_offset=memory.storage_offset(),
            dtype=memory.dtype,
            layout=memory.layout,
            device=torch.device(NAME, 0),
            requires_grad=requires_grad,
        )
        tensor.memory = memory
        return tensor

    def __repr__(self, **_: Any) -> str:
        return f"SimulatedTensor({self.memory!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            twin = SimulatedTensor(self.memory.detach().clone(), self.requires_grad)
            if getattr(self, "_is_param", False):
                twin._is_param = True
            memo[id(self)] = twin
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> Any:
        return SimulatedTensor, (self.memory.detach(), self.requires_grad)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run_operation(func, args, kwargs or {})


def is_simulated(value: Any) -> bool:
    """Whether a value is a tensor on the simulated device."""
    return isinstance(value, SimulatedTensor)


def run_operation(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run one operation as the device would: check it, tell the watch of it, and compute in host memory."""
    name, watch = str(func), Watch.current
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    ours = [tensor for tensor in tensors if is_simulated(tensor)]
    target = kwargs.get("device")
    target_type = None if target is None else torch.device(target).type
    if not ours and target_type != NAME:
        return func(*args, **kwargs)
    if name not in COPIES:
        _check(name, args, kwargs, tensors)
    if watch is not None:
        watch.see(name, args, kwargs, tensors, is_simulated)
    result = _compute(func, args, kwargs)
    if name == COPY:
        return args[0]
    to_host = name == TO_COPY and target_type == "cpu"
    originals = {id(tensor.memory): tensor for tensor in ours}
    if not to_host and MODULE.refuses_float64 and _makes_float64(result, originals):
        raise TypeError(f"Cannot convert a {NAME} Tensor to float64 dtype as the device does not support it")

    def outer(value: Any) -> Any:
        if to_host or not isinstance(value, Tensor) or is_simulated(value):
            return value
        return originals.get(id(value)) if id(value) in originals else SimulatedTensor(value)

    return tree_map(outer, result)


def _check(name: str, args: Any, kwargs: dict[str, Any], tensors: list[Tensor]) -> None:
    """Refuse what CUDA refuses: tensors of two devices (numbers aside), and a generator of the host."""
    others = [tensor for tensor in tensors if not is_simulated(tensor) and tensor.ndim > 0]
    if name in INDEXING and is_simulated(args[0]):  # CUDA copies indices that lie on the host
        others = [tensor for tensor in others if not any(tensor is index for index in args[1])]
    if others:
        raise DeviceError(
            f"Expected all tensors to be on the same device, but found at least two devices, "
            f"{NAME}:0 and cpu! ({name}, {[tuple(tensor.shape) for tensor in others]})"
        )
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu":
        raise DeviceError(f"Expected a '{NAME}' device type for generator but found 'cpu' ({name})")


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation in host memory; one that draws random numbers draws those of the device."""

    def inner(value: Any) -> Any:
        return value.memory if is_simulated(value) else value

    host_args, host_kwargs = tree_map(inner, args), tree_map(inner, kwargs)
    if kwargs.get("device") is not None:
        host_kwargs = {**host_kwargs, "device": "cpu"}
        host_kwargs.pop("non_blocking", None)
    if func in PRODUCTS and args[0].dtype == torch.float32 and _is_host_number(args[1]):
        return PRODUCTS[func](host_args[0], 1 / torch.as_tensor(args[1], dtype=torch.float32))
    if torch.Tag.nondeterministic_seeded in func.tags:
        with MODULE.own_random_numbers():
            return func(*host_args, **host_kwargs)
    return func(*host_args, **host_kwargs)


def _is_host_number(value: Any) -> bool:
    return isinstance(value, int | float) or (
        isinstance(value, Tensor) and value.ndim == 0 and not is_simulated(value)
    )


def _makes_float64(result: Any, originals: dict[int, Tensor]) -> bool:
    values = tree_flatten(result)[0]
    return any(isinstance(v, Tensor) and v.dtype == torch.float64 and id(v) not in originals for v in values)
