"""The sentences of arms under a table: what each took and gave, or what cannot be said without it."""

from typing import TYPE_CHECKING

from robust_tickets.recipe.pruning_methods import make_pruning_method

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe
    from robust_tickets.report.verdict import ArmFigures


def ticket_sentence(figures: "dict[str, ArmFigures]") -> str:
    ticket, dense = figures["ticket"], figures["dense"]
    return (
        f"Against `dense` ({dense.epochs}), the ticket took {ticket.costs('dense')}, search included, "
        f"at {ticket.robust} robust accuracy "
        f"(last epoch) under {ticket.judge.title} against {dense.robust} ({ticket.difference('dense')})."
    )


def best_sentence(figures: "dict[str, ArmFigures]") -> str:
    ticket = figures["ticket"]
    return (
        f"Of dense stopped at its best epoch (`dense-best`, {figures['dense-best'].epochs}) it took "
        f"{ticket.costs('dense-best')}."
    )


def reinit_sentence(figures: "dict[str, ArmFigures]") -> str:
    """What the ticket's init is worth, and what to try where it is worth nothing (Frankle & Carbin 2019)."""
    ticket, reinit = figures["ticket"], figures["ticket-reinit"]
    text = (
        f"Its mask with a new init (`ticket-reinit`) ends at {reinit.robust}: the ticket is "
        f"{ticket.difference('ticket-reinit')}"
    )
    wins, search = ticket.exceeds("ticket-reinit"), ticket.recipe.search
    method = make_pruning_method(search)
    if wins or method.keeps_trained_weights:
        return f"{text}."
    if wins is None:
        return f"{text}, which cannot be told from chance: whether it is a winning ticket is undecided."
    if "rewind_epochs" in method.unused:
        return f"{text}: **no winning ticket**."
    advice = [
        *(["a warm-up (search.warmup)"] if not search.warmup else []),
        *(
            ["rewinding (search.rewind_epochs)"]
            if not search.rewind_epochs + search.rewind_iterations
            else []
        ),
        "a lower learning rate",
    ]
    return f"{text}: **no winning ticket at learning rate {search.lr:g}**. Try {' or '.join(advice)}."


def short_sentence(figures: "dict[str, ArmFigures]") -> str:
    short = figures["dense-short"]
    return (
        f"`dense-short`, the same {short.epochs} with no search, took {short.flops('dense')} of the FLOPs at "
        f"{short.robust}."
    )


def equal_cost_sentence(figures: "dict[str, ArmFigures]") -> str:
    return _equal_sentence(figures, "cost")


def equal_seconds_sentence(figures: "dict[str, ArmFigures]") -> str:
    return _equal_sentence(figures, "seconds")


def _equal_sentence(figures: "dict[str, ArmFigures]", measure: str) -> str:
    """The ticket against dense at equal `measure`, cost or seconds."""
    name = f"dense-equal-{measure}"
    equal = figures[name]
    if measure == "seconds" and {name, "ticket"} & equal.disturbed:
        return f"`{name}` says nothing here, as the seconds of a busy machine are not equal ones."
    return (
        f"**At equal {measure}** (`{name}`, {equal.epochs}, {_cost(equal)}) the ticket is "
        f"{figures['ticket'].saving(name, f'dense at equal {measure}')}"
    )


def amortised_sentence(figures: "dict[str, ArmFigures]") -> str:
    """The ticket against dense where several trainings share the cost of the search."""
    dense = figures["dense-amortised"]
    name = f"dense where {dense.recipe.compare.reuses} trainings share the search"
    return (
        f"**Where {dense.recipe.compare.reuses} trainings use the search** (`dense-amortised`, "
        f"{dense.epochs}, {dense.robust}) the ticket is {figures['ticket'].saving('dense-amortised', name)}"
    )


def staged_sentence(figures: "dict[str, ArmFigures]") -> str:
    return (
        f"**On the ticket's own stages, at equal cost** (`dense-staged`, {_cost(figures['dense-staged'])}) "
        f"the ticket is {figures['ticket'].saving('dense-staged', 'a whole network on its stages')}"
    )


def _cost(arm: "ArmFigures") -> str:
    seconds = arm.seconds("ticket")
    parts = [f"{arm.flops('ticket')} of the ticket's FLOPs", f"{seconds} of its seconds" if seconds else ""]
    return ", ".join(filter(None, [*parts, arm.robust]))


def equal_cost_caveat(recipe: "Recipe") -> str:
    return "Without `dense-equal-cost` it cannot be said whether the ticket or the shorter schedule saves."


def staged_caveat(recipe: "Recipe") -> str:
    if not make_pruning_method(recipe.search).keeps_trained_weights:
        return ""
    return (
        "The ticket keeps what its search has trained: without `dense-staged` it cannot be said whether the "
        "pruning saves or the search's cheaper training does."
    )
