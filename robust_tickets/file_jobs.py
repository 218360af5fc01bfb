"""Doing the verbs on files: each calls one function and prints what it gives."""

from robust_tickets import stops
from robust_tickets.errors import InputError
from robust_tickets.file_verbs import (
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
    with stops.waiting():  # what a signal breaks off half imported fails in odd ways
        from robust_tickets import models, tickets

    if isinstance(verb, TicketShow):
        print(tickets.shown(tickets.Ticket.load(verb.ticket)))
    elif isinstance(verb, TicketDiff):
        one, other = tickets.Ticket.load(verb.one), tickets.Ticket.load(verb.other)
        print(tickets.compared(one, other))
    elif isinstance(verb, TicketExport):
        ticket = tickets.Ticket.load(verb.ticket)
        for file in tickets.export_ticket(ticket, verb.out or verb.ticket.with_suffix("")):
            print(file)
    else:
        make = None if verb.model.name is None else models.imported(verb.model.name)
        for line in tickets.verify(tickets.Ticket.load(verb.ticket), make):
            print(line)


def _export(verb: Export) -> None:
    with stops.waiting():
        from robust_tickets import export, models

    make = None if verb.model.name is None else models.imported(verb.model.name)
    done = export.export(verb.checkpoint, verb.format, verb.out, make)
    print(done.check)
    print(done.file)


def _table(verb: Table) -> None:
    from robust_tickets import runs

    text = _study(verb) if (verb.run / "study.toml").is_file() else _comparison(verb)
    if verb.out is None:
        print(text, end="")
    else:
        runs.write_text(verb.out, text)
        print(verb.out)


def _study(verb: Table) -> str:
    from robust_tickets import studies

    if verb.about == "boosting":
        raise InputError(f"--about boosting is of a run directory, and {verb.run} is a study: leave it out")
    if verb.format == "latex":
        raise InputError("a study comes as csv or markdown: choose one of them by --format")
    table, verdict = studies.again(verb.run)
    return table if verb.format == "csv" else verdict


def _comparison(verb: Table) -> str:
    from robust_tickets import report, runs

    run = runs.RunDirectory.open(verb.run)
    if verb.about == "boosting":
        if verb.format == "latex":
            raise InputError("--about boosting comes as csv or markdown: choose one of them by --format")
        return {"csv": report.boosting_csv, "markdown": report.boosting_markdown}[verb.format](run)
    return {"csv": report.csv, "markdown": report.markdown, "latex": report.latex}[verb.format](run)


def _tidy(verb: RunsList | RunsRm | CacheClear) -> None:
    from robust_tickets import index

    if isinstance(verb, RunsList):
        print(index.listed(verb.runs))
    elif isinstance(verb, RunsRm):
        print(index.remove(verb.run, verb.yes))
    else:
        from robust_tickets.data import cache

        print(cache.clear())
