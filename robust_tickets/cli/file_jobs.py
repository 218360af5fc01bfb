"""Doing the verbs on files: each calls one function and prints what it gives."""

from robust_tickets.base import signals
from robust_tickets.base.errors import InputError
from robust_tickets.cli.file_commands import (
    CacheClear,
    Export,
    FileVerb,
    RunsList,
    RunsRm,
    Table,
    TicketDiff,
    TicketExport,
    TicketShow,
    TicketVerify,
)
from robust_tickets.report import boosting_table, latex, tables, write
from robust_tickets.runs import directory, files, listing
from robust_tickets.studies import record


def do(verb: FileVerb) -> None:
    """Do one of them. Raises InputError for files that it cannot be done with."""
    if isinstance(verb, Table):
        _table(verb)
    elif isinstance(verb, Export):
        _export(verb)
    elif isinstance(verb, RunsList | RunsRm | CacheClear):
        _tidy(verb)
    else:
        _ticket(verb)


def _ticket(verb: TicketShow | TicketDiff | TicketExport | TicketVerify) -> None:
    with signals.deferred():  # what a signal breaks off half imported fails in odd ways
        from robust_tickets.models import user_net
        from robust_tickets.tickets import inspection, prune_format, verification
        from robust_tickets.tickets import ticket as tickets

    if isinstance(verb, TicketShow):
        print(inspection.describe_ticket(tickets.Ticket.load(verb.ticket)))
    elif isinstance(verb, TicketDiff):
        one, other = tickets.Ticket.load(verb.one), tickets.Ticket.load(verb.other)
        print(inspection.compare_tickets(one, other))
    elif isinstance(verb, TicketExport):
        ticket = tickets.Ticket.load(verb.ticket)
        for file in prune_format.export_ticket(ticket, verb.out or verb.ticket.with_suffix("")):
            print(file)
    else:
        make = None if verb.model.name is None else user_net.import_function(verb.model.name)
        for line in verification.verify(tickets.Ticket.load(verb.ticket), make):
            print(line)


def _export(verb: Export) -> None:
    with signals.deferred():
        from robust_tickets.models import user_net
        from robust_tickets.training import export

    make = None if verb.model.name is None else user_net.import_function(verb.model.name)
    done = export.export(verb.checkpoint, verb.format, verb.out, make)
    print(done.check)
    print(done.file)


def _table(verb: Table) -> None:

    text = _study(verb) if (verb.run / "study.toml").is_file() else _comparison(verb)
    if verb.out is None:
        print(text, end="")
    else:
        files.write_text(verb.out, text)
        print(verb.out)


def _study(verb: Table) -> str:

    if verb.about == "boosting":
        raise InputError(f"--about boosting is of a run directory, and {verb.run} is a study: leave it out")
    if verb.format == "latex":
        raise InputError("a study comes as csv or markdown: choose one of them by --format")
    table, verdict = record.read_study(verb.run)
    return table if verb.format == "csv" else verdict


def _comparison(verb: Table) -> str:

    run = directory.RunDirectory.open(verb.run)
    if verb.about == "boosting":
        if verb.format == "latex":
            raise InputError("--about boosting comes as csv or markdown: choose one of them by --format")
        return {"csv": boosting_table.boosting_csv, "markdown": boosting_table.boosting_markdown}[
            verb.format
        ](run)
    return {"csv": write.csv, "markdown": tables.markdown, "latex": latex.latex}[verb.format](run)


def _tidy(verb: RunsList | RunsRm | CacheClear) -> None:

    if isinstance(verb, RunsList):
        print(listing.list_runs(verb.runs))
    elif isinstance(verb, RunsRm):
        print(listing.remove(verb.run, verb.yes))
    else:
        from robust_tickets.data import cache

        print(cache.clear())
