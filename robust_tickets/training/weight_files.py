"""Reads a file of weights that others wrote, without running any code that it names."""

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from robust_tickets.base.errors import InputError

_DEEPEST = 8  # containers that are looked into


class _Placeholder(dict[Any, Any]):
    """Stands for an object beside the weights, such as a NumPy scalar: its class is never imported."""

    def __init__(self, *arguments: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


def read_weight_file(path: Path) -> Any:
    """The content of a `.safetensors` file, or of one of torch.save, of whatever type.

    Tensors, plain values, lists and dictionaries are read; anything else is an empty dictionary. Raises
    InputError for a file that is unsafe or damaged.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the file in it, as {path / 'best.safetensors'}")
    if not path.is_file():
        raise InputError(f"there is no file {path}: give the path of a checkpoint (.safetensors, .pt)")
    if not os.access(path, os.R_OK):
        raise InputError(f"cannot read {path} (Permission denied): make it readable, or copy it")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_no_program(path)
        if _is_compressed(path):
            raise InputError(
                f"{path} is compressed, as torch.save never does, and may hold far more than it seems: fetch "
                "the file again, or unpack it"
            )
        with safe_globals([(_Placeholder, name) for name in _unknown_names(path)]), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of old pickles and of sparse tensors, which are read all the same
            return _dense(torch.load(path, map_location="cpu", weights_only=True), path)
    except InputError:
        raise
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} is no file of weights, or holds more than weights, and code from a file is never run: "
            "save the network's state_dict() alone, or fetch the file again"
        ) from None
    except Exception:  # torch.load raises whatever a damaged file leads it to
        raise InputError(f"{path} is damaged or no file of weights: fetch it again") from None


def _dense(content: Any, path: Path, depth: int = 0) -> Any:
    """The content with ordinary tensors in place of sparse and quantised ones."""
    if isinstance(content, torch.Tensor):
        if content.is_meta:
            raise InputError(
                f"{path} has tensors without values (device meta): save the network once its weights are made"
            )
        plain = content.dequantize() if content.is_quantized else content
        return plain if plain.layout == torch.strided else plain.to_dense()
    if depth < _DEEPEST and isinstance(content, dict):
        return {key: _dense(value, path, depth + 1) for key, value in content.items()}
    if depth < _DEEPEST and isinstance(content, list | tuple):
        return [_dense(value, path, depth + 1) for value in content]
    return content


def _is_compressed(path: Path) -> bool:
    """Whether a zip holds anything compressed."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())


def _check_no_program(path: Path) -> None:
    """Raise InputError for TorchScript and for torch.export, which are code and not weights alone."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
        if "constants.pkl" in names or any(name.startswith("models/") for name in names):
            raise InputError(
                f"{path} is a program (TorchScript or torch.export) and not weights alone: load it in Python "
                "and save its state_dict() with torch.save"
            )


def _unknown_names(path: Path) -> list[str]:
    """The names of classes and functions in a file that are no part of weights."""
    if zipfile.is_zipfile(path):
        return get_unsafe_globals_in_checkpoint(str(path))
    # before PyTorch 1.6 files were no archives; these are NumPy's names for a scalar
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    return ["numpy.dtype", *(f"{module}.{name}" for module in modules for name in ("scalar", "_reconstruct"))]
