"""Compares the files of two runs of the same work on two devices: all of them, but for seconds and device."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

MACHINE = (
    *("device", "gpu", "cuda", "cudnn", "driver"),
    *("machine_load", "other_cores", "slowdown", "disturbed"),
)
LEFT_OUT = (".svg", ".md", ".html", ".toml", ".pt2", ".lock")


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two folders, a line each."""
    files, others = _files(one), _files(other)
    lines = [f"{name} is on one device only" for name in sorted(files.keys() ^ others.keys())]
    for name in sorted(files.keys() & others.keys()):
        if files[name].suffix not in LEFT_OUT and _content(files[name]) != _content(others[name]):
            lines.append(f"{name} differs")
    return lines


def _files(folder: Path) -> dict[str, Path]:
    """The files of a folder; names lack the hash of what verdicts depend on, such as the device."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {re.sub(r"-[0-9a-f]{8}(?=\.)", "", str(path.relative_to(folder))): path for path in paths}


def _content(file: Path) -> Any:
    """What has to be equal in a file."""
    if file.suffix == ".safetensors":
        return {name: _bytes(tensor.numpy()) for name, tensor in load_file(file).items()}
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            return {name: _bytes(arrays[name]) for name in arrays.files if name not in ("about", "seconds")}
    if file.suffix == ".csv":
        with file.open(encoding="utf-8") as rows:
            return [_untimed(row) for row in csv.DictReader(rows)]
    if file.suffix in (".json", ".jsonl"):
        text = file.read_text(encoding="utf-8")
        return [
            _untimed(json.loads(part)) for part in (text.splitlines() if file.suffix == ".jsonl" else [text])
        ]
    return file.read_bytes()


def _bytes(array: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    return str(array.dtype), array.shape, array.tobytes()


def _untimed(value: Any) -> Any:
    """A value without seconds and the device's name."""
    if isinstance(value, dict):
        kept = {name: item for name, item in value.items() if not _is_of_machine(name)}
        return {name: _untimed(item) for name, item in kept.items()}
    return [_untimed(item) for item in value] if isinstance(value, list) else value


def _is_of_machine(name: str) -> bool:
    return "seconds" in name or name.endswith("_s") or name in MACHINE
