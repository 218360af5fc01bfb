"""Programs of torch.export on disk, as `export --format torch` writes them, read without code of a file."""

import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from robust_tickets.base.errors import InputError
from robust_tickets.models.user_net import NetFactory
from robust_tickets.training.checkpoint import Checkpoint, plain_fields

_META = "robust-tickets.json"
_GRAPH = "archive/models/model.json"
_EXPRESSION = re.compile(
    r"(?:Symbol|Integer|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|positive|integer|True|False"
    r"|'[a-z]+\d+'|\d+|[-(),= ])*"
)
"""Sizes that depend on the number of images. PyTorch evaluates their text, which may be any code."""


@dataclass(frozen=True)
class Program(Checkpoint):
    """A checkpoint whose network is a program, of one mode, whatever code made it."""

    program: nn.Module = field(default_factory=nn.Module)

    def net(self, make: NetFactory | None = None) -> nn.Module:
        """The program, in the eval mode that it was exported in; `make` is not needed."""
        return self.program


def save_program(program: torch.export.ExportedProgram, checkpoint: Checkpoint, file: Path) -> None:
    """Write a checkpoint's exported network, with what the checkpoint says beside the weights."""
    with file.open("wb") as target:  # given a name, it would insist on a suffix
        torch.export.save(program, target, extra_files={_META: json.dumps(checkpoint.meta(), sort_keys=True)})


def is_program(path: Path) -> bool:
    """Whether a file is a program of torch.export."""
    return _GRAPH in _names(path)


def load_program(path: Path) -> Program:
    """Read a program that `save_program` wrote.

    Raises InputError for another program, one with code besides operations of PyTorch, and a damaged one.
    """
    names = _names(path)
    advice = (
        "if you trust it, load it in Python: robust_tickets.evaluate(torch.export.load(FILE).module(), ...)"
    )
    if f"archive/extra/{_META}" not in names:
        raise InputError(f"{path} is a program that `export --format torch` did not write: {advice}")
    try:
        with zipfile.ZipFile(path) as archive:
            meta = json.loads(archive.read(f"archive/extra/{_META}"))
            graph = json.loads(archive.read(_GRAPH))
        if not isinstance(meta, dict):
            raise InputError(f"{path} does not say what it was exported from: export it again")
        if any("aotinductor" in name for name in names) or not all(map(_EXPRESSION.fullmatch, _sizes(graph))):
            raise InputError(f"{path} holds code besides PyTorch's operations: {advice}")
        with path.open("rb") as source, _weights_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecations within torch.export itself
            module = torch.export.load(source).module()
    except InputError:
        raise
    except Exception as error:  # torch.export.load raises whatever a damaged file leads it to
        raise InputError(
            f"{path} is damaged, or of another release of PyTorch ({type(error).__name__}): export it again"
        ) from None
    fields = plain_fields(path, meta)
    # results of the program are not those of the network that it was made from
    fields["model"] = replace(fields["model"], name=f"{fields['model'].name} (exported)")
    return Program(dict(module.state_dict()), **fields, program=module)


def _names(path: Path) -> list[str]:
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _sizes(graph: object) -> Iterator[str]:
    """The texts of all expressions in a graph."""
    if isinstance(graph, dict):
        if "expr_str" in graph:
            yield str(graph["expr_str"])
        graph = list(graph.values())
    if isinstance(graph, list):
        for part in graph:
            yield from _sizes(part)


@contextmanager
def _weights_only() -> Iterator[None]:
    """Let torch.load read tensors alone, as torch.export falls back to pickles of anything."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
