"""Checks of the input of attacks: settings (ValueError), images and labels (InputError)."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import InputError

if TYPE_CHECKING:
    from .threat import ThreatModel


def check_counts(**counts: object) -> None:
    """Raise ValueError for counts, by name, that are no whole numbers of at least 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral):
            raise ValueError(f"{name} must be a whole number, got {count!r}")
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def check_number(name: str, value: object, fits: Callable[[float], bool], expected: str) -> None:
    """Raise ValueError (`<name> must be <expected>`) unless the value is a number and fits."""
    if isinstance(value, bool) or not isinstance(value, Real) or not fits(float(value)):
        raise ValueError(f"{name} must be {expected}, got {value!r}")


def check_flag(**flags: object) -> None:
    """Raise ValueError for flags, by name, that are neither True nor False."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise ValueError(f"{name} must be True or False, got {flag!r}")


def check_call(net: object, seed: object) -> None:
    """Raise InputError for a network that is no callable, and for a seed that is neither None nor whole."""
    if not callable(net):
        raise InputError(
            f"the network is {net!r}, expected a callable from images to logits, as an nn.Module"
        )
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral)):
        raise InputError(f"seed must be a whole number, or None for a fresh one, got {seed!r}")


def check_input(
    images: Tensor, labels: Tensor, start: Tensor | None, sample_ids: Tensor | None, threat: "ThreatModel"
) -> None:
    """Raise InputError for a batch that makes no sense; a GPU is waited for, once or twice.

    The arguments are those of `Attack.run`.
    """
    low, high = threat.bounds
    tensors = {"images": images, "labels": labels, "start": start, "sample_ids": sample_ids}
    for name, value in tensors.items():
        if not isinstance(value, Tensor) and not (value is None and name in ("start", "sample_ids")):
            verb = "is" if name == "start" else "are"
            raise InputError(
                f"{name} {verb} a {type(value).__name__}, expected a torch.Tensor: "
                "convert them, as by torch.as_tensor or torch.stack"
            )
    if images.ndim >= 2 and len(images) == 0:
        raise InputError(f"there are no images, as their shape is {tuple(images.shape)}: give at least one")
    if images.ndim == 3 and labels.numel() == 1 and labels.shape != images.shape[:1]:
        raise InputError(
            f"images have the shape {tuple(images.shape)} of one image, expected a batch (N, C, H, W): give "
            "images[None] and its label as a tensor of shape (1,)"
        )
    if images.ndim < 2:
        raise InputError(f"expected a batch of images (N, C, H, W), got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}: convert them to floats within [{low:g}, {high:g}]")
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise InputError(
            f"expected {_count(images, 'label')} of type int64, got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    lowest, highest = torch.stack([images.detach().min(), images.detach().max()]).tolist()
    if not (low <= lowest and highest <= high):  # nor is NaN, which is the lowest and the highest
        nan = int(images.detach().isnan().flatten(1).any(1).sum())
        if nan:
            raise InputError(
                f"{nan} of {len(images)} images hold NaN: look at the code that reads or makes them"
            )
        raise InputError(
            f"images lie in [{lowest:g}, {highest:g}], expected [{low:g}, {high:g}]: "
            "make normalisation the network's first layer, and attack the images before it"
        )
    if start is not None and (start.shape != images.shape or start.dtype != images.dtype):
        raise InputError(
            f"start is {start.dtype} of shape {tuple(start.shape)}, the images are {images.dtype} of shape "
            f"{tuple(images.shape)}: make them alike"
        )
    if start is not None and not bool(threat.allows(start, images).all()):
        raise InputError("start lies outside ball or box: project it first (ThreatModel.project)")
    if sample_ids is not None and (sample_ids.shape != labels.shape or sample_ids.dtype != torch.int64):
        raise InputError(
            f"expected {_count(images, 'sample id')} of type int64, got {sample_ids.dtype} of shape "
            f"{tuple(sample_ids.shape)}"
        )


def _count(images: Tensor, name: str) -> str:
    return f"{len(images)} {name}{'s' * (len(images) > 1)}"
