"""The tensor file: tensors and plain values in one safetensors file, with a content hash.

There is no pickle, no clock and no path in it, so that the same content gives the same bytes.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.runs import files
from robust_tickets.runs.packed_tensors import pack, unpack

T = TypeVar("T")

VERSION = 2
"""Version of the files' layout."""

_PACKED = "packed"
_KEY = "robust-tickets"  # one key, as safetensors keeps several in no particular order


def save(
    path: Path, kind: str, tensors: dict[str, Tensor], meta: dict[str, Any], *, packed: bool = False
) -> None:
    """Write tensors and plain values, whole or not at all.

    kind: what the file is, such as "ticket"; `load` asks for it.
    packed: whether tensors with many zeros take less room; the file is read in the same way and has the same
        hash.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    meta = {**meta, "kind": kind, "version": VERSION}
    meta["hash"] = content_hash(tensors, meta)
    if packed:
        tensors, meta[_PACKED] = pack(tensors)
    text = json.dumps(meta, sort_keys=True)
    files.write_bytes(path, serialise(tensors, {_KEY: text}))


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and plain values of a file that `save` wrote.

    Raises InputError for a file that is absent, damaged, of another kind or of another version.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the {kind} in it (.safetensors)")
    if not path.is_file():
        raise InputError(f"there is no file {path}: give the path of a {kind} (.safetensors)")
    if not os.access(path, os.R_OK):  # which safe_open calls a file that is not there
        raise InputError(f"cannot read {path} (Permission denied): make it readable, or copy it")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        meta = json.loads(text) if text else None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged or no {kind} ({error}): copy or create it again") from None
    if not isinstance(meta, dict):
        raise InputError(f"{path} was not written by robust-tickets: expected a {kind}")
    if meta.get("kind") != kind:
        raise InputError(f"{path} is a {meta.get('kind')}, expected a {kind}")
    if meta.get("version") != VERSION:
        raise InputError(
            f"{path} is of version {meta.get('version')!r:.20}, and this release reads version {VERSION} "
            f"alone: create the {kind} again, or use the release that wrote it"
        )
    try:
        tensors = unpack(tensors, meta.get(_PACKED, {}))
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}): copy or create it again") from None
    if meta.get("hash") != content_hash(tensors, meta):
        raise InputError(
            f"{path} is damaged, as its content does not match its hash: copy or create it again"
        )
    return tensors, meta


def field(meta: dict[str, Any], name: str, kind: type[T]) -> T:
    """A plain value of a file. Raises KeyError if it is missing, TypeError if it is not of that type."""
    value = meta[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} is {value!r:.40}, no {kind.__name__}")
    return value


def kind_of(path: Path) -> str:
    """What a file that `save` wrote is, such as "ticket", by its header; "" for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get(_KEY, "{}"))
        return str(meta.get("kind", "")) if isinstance(meta, dict) else ""
    except (SafetensorError, OSError, ValueError, RecursionError):
        return ""


def is_ours(path: Path) -> bool:
    """Whether `save` wrote a file, by its header; `load` finds out whether it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False


def content_hash(tensors: dict[str, Tensor], meta: dict[str, Any]) -> str:
    """Sixteen hex digits of the tensors' names, types, shapes and values, and of the plain values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    plain = {key: value for key, value in meta.items() if key not in ("hash", _PACKED)}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    return digest.hexdigest()[:16]
