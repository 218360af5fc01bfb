"""Verbs on files that are there already: run directories, checkpoints, tickets, the cache."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True, kw_only=True)
class OwnNet:
    """The net, where the file must not say."""

    name: Annotated[str | None, arg(metavar="MODULE:FUNCTION")] = None
    """the function of yours that makes the file's net: its own word is not trusted with code"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Make the table of a comparison, or the verdict of a study, again from its files."""

    run: Positional[Path]
    """a run directory, or a study's folder"""
    format: Literal["csv", "markdown", "latex"] = "markdown"
    """csv: fractions and seconds; markdown: percent, and the sentence that the table supports; latex: the
    timing table for a paper (needs the package booktabs)"""
    about: Literal["timing", "boosting"] = "timing"
    """timing: what each arm cost and kept; boosting: how fast it got there (csv and markdown)"""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """file to write; None: standard output"""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a checkpoint's net so that it runs without this package, and check it against the original."""

    checkpoint: Positional[Path]
    """a best.safetensors or last.safetensors; the weights that a ticket pruned are zero in it"""
    format: Literal["torch", "onnx", "safetensors"] = "torch"
    """torch: a program for torch.export.load; onnx: a model for any ONNX runtime (needs the extra onnx);
    safetensors: the bare weights by parameter name"""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """file to write; None: beside the checkpoint, as .pt2, .onnx or -weights.safetensors"""
    model: OwnNet = OwnNet()


@dataclass(frozen=True, kw_only=True)
class RunsList:
    """List run directories: recipe, seeds, finished arms, size."""

    runs: Path = Path("runs")
    """folder of the run directories"""


@dataclass(frozen=True, kw_only=True)
class RunsRm:
    """Remove a run directory with all its results."""

    run: Positional[Path]
    """a run directory"""
    yes: bool = False
    """really remove it; without, only what would go is said"""


@dataclass(frozen=True, kw_only=True)
class CacheClear:
    """Remove the decoded images from the cache; they are decoded again when they are needed."""


@dataclass(frozen=True, kw_only=True)
class TicketShow:
    """Show a ticket: its layers and what is kept of them, where it came from, what it cost."""

    ticket: Positional[Path]
    """a ticket.safetensors"""


@dataclass(frozen=True, kw_only=True)
class TicketDiff:
    """Compare two tickets of one net: what both keep of each layer, beside what they would by chance."""

    one: Positional[Path]
    """a ticket.safetensors"""
    other: Positional[Path]
    """another one"""


@dataclass(frozen=True, kw_only=True)
class TicketExport:
    """Write a ticket as plain tensors: its state dict, its masks, and both as PyTorch itself prunes."""

    ticket: Positional[Path]
    """a ticket.safetensors"""
    out: Annotated[Path | None, arg(metavar="NAME")] = None
    """beginning of the files' names, to which -init, -masks and -prune.safetensors are added; None: the
    ticket's own"""


@dataclass(frozen=True, kw_only=True)
class TicketVerify:
    """Check a ticket: that it is whole, fits its net, leaves a path through it, and has its seed's init."""

    ticket: Positional[Path]
    """a ticket.safetensors"""
    model: OwnNet = OwnNet()


FileVerb = (
    Table | Export | RunsList | RunsRm | CacheClear | TicketShow | TicketDiff | TicketExport | TicketVerify
)
FILE_VERBS: dict[str, type[FileVerb]] = {
    "table": Table,
    "export": Export,
    "ticket show": TicketShow,
    "ticket diff": TicketDiff,
    "ticket export": TicketExport,
    "ticket verify": TicketVerify,
    "runs list": RunsList,
    "runs rm": RunsRm,
    "cache clear": CacheClear,
}
"""The verbs on files by the words they are called by."""
