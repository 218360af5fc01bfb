"""The commands on ticket files: show, diff, rounds, export, stretch, squeeze, verify."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from robust_tickets.base import signals
from robust_tickets.base.paths import check_other_file
from robust_tickets.cli.command import Command, command
from robust_tickets.cli.input_file import InputFile
from robust_tickets.cli.user_net import UserNet
from robust_tickets.recipe.schema import Range

if TYPE_CHECKING:
    from robust_tickets.tickets.ticket import Ticket


@command
class TicketShow(Command):
    """Show a ticket: its layers and what is kept of them, where it came from, what it cost."""

    ticket: Positional[InputFile]
    """a ticket.safetensors, or its address"""

    def run(self) -> None:
        """Print the ticket's origin and layers."""
        ticket = _load(self.ticket)
        from robust_tickets.tickets import inspection

        print(inspection.describe_ticket(ticket))


@command
class TicketDiff(Command):
    """Compare two tickets of one network: what both keep of each layer, beside chance."""

    one: Positional[InputFile]
    """a ticket.safetensors, or its address"""
    other: Positional[InputFile]
    """another one"""

    def run(self) -> None:
        """Print the overlap by layer."""
        one, other = _load(self.one), _load(self.other)
        from robust_tickets.tickets import inspection

        print(inspection.compare_tickets(one, other))


@command
class TicketRounds(Command):
    """Show the rounds of a search: how fast the network learns in each, and where it ends."""

    ticket: Positional[Path]
    """the ticket.safetensors of a search in a run directory"""
    target: Annotated[float, Range(above=0, most=1)] | None = None
    """validation accuracy whose first epoch is sought in each round; without it: the lowest one at an end"""
    kind: Literal["robust", "clean"] = "robust"
    """which accuracy"""

    def run(self) -> None:
        """Print the rounds."""
        from robust_tickets.report.rounds import describe_rounds

        print(describe_rounds(self.ticket, self.kind, self.target))


@command
class TicketExport(Command):
    """Write a ticket as plain tensors: its state dict, its masks, and both as PyTorch itself prunes."""

    ticket: Positional[InputFile]
    """a ticket.safetensors, or its address"""
    out: Annotated[Path | None, arg(metavar="NAME")] = None
    """beginning of the files' names, to which -init, -masks and -prune.safetensors (or -sparse.safetensors)
    are added; without it: the ticket's own, in the current folder for an address"""
    sparse: bool = False
    """write a small ticket file instead, of mask bits and kept weights, which is read like any other"""

    def run(self) -> None:
        """Print the files, and the size of a sparse one."""
        ticket = _load(self.ticket)
        from robust_tickets.runs.downloads import result_folder
        from robust_tickets.tickets import prune_format

        source = self.ticket.path
        out = self.out or result_folder(source) / source.stem
        for file in prune_format.export_files(out, sparse=self.sparse):
            check_other_file(file, source)
        if self.sparse:
            file = prune_format.export_sparse(ticket, out)
            print(f"{file.stat().st_size:,} bytes, the ticket has {source.stat().st_size:,}")
            print(file)
            return
        for file in prune_format.export_ticket(ticket, out):
            print(file)


@dataclass(frozen=True, kw_only=True)
class _DepthChange(Command):
    """What stretching and squeezing share."""

    ticket: Positional[InputFile]
    """a ticket.safetensors, or its address"""
    to: Annotated[str, arg(metavar="NET")]
    """the network: of the same family and another depth, such as resnet20 and resnet32"""
    order: Literal["append", "interpolate"] = "append"
    """in which copies of the blocks 1 and 2 follow each other: append: 1 2 1 2; interpolate: 1 1 2 2.
    Squeezing undoes it: append leaves out the last blocks, interpolate those in between"""
    out: Path | None = None
    """file of the new ticket; without it: beside the old one, or in the current folder for an address, with
    the network's name added"""

    def _change(self, *, deeper: bool) -> None:
        """Write the new ticket; print the map of blocks, both densities and the file."""
        ticket = _load(self.ticket)
        from robust_tickets.runs.downloads import result_folder
        from robust_tickets.tickets import elastic

        new = elastic.change_depth(ticket, self.to, self.order)
        elastic.check_direction(ticket.model, new.model, deeper=deeper)
        source = self.ticket.path
        file = self.out or result_folder(source) / f"{source.stem}-{self.to}.safetensors"
        check_other_file(file, source)
        new.save(file)
        print(elastic.describe_change(ticket, new))
        print(file)


@command
class TicketStretch(_DepthChange):
    """Make a ticket of a deeper network from a ticket: blocks are copied, nothing is searched."""

    def run(self) -> None:
        """Write and describe the new ticket."""
        self._change(deeper=True)


@command
class TicketSqueeze(_DepthChange):
    """Make a ticket of a shallower network from a ticket: blocks are left out, nothing is searched."""

    def run(self) -> None:
        """Write and describe the new ticket."""
        self._change(deeper=False)


@command
class TicketVerify(Command):
    """Check a ticket: it is whole, fits its network, leaves a path through it, and has its seed's init."""

    ticket: Positional[InputFile]
    """a ticket.safetensors, or its address"""
    model: UserNet = UserNet()

    def run(self) -> None:
        """Print a line a check."""
        ticket = _load(self.ticket)
        from robust_tickets.tickets import verification

        for line in verification.verify(ticket, self.model.factory()):
            print(line)


def _load(file: InputFile) -> "Ticket":
    with signals.deferred():
        from robust_tickets.tickets.ticket import Ticket
    return Ticket.load(file.path)
