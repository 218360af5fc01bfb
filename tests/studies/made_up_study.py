"""A study from outside the package, as a user would write one; importable without torch and pandas."""

from dataclasses import replace

from robust_tickets.recipe.schema import Count
from robust_tickets.studies.base import Cell, Comparison, Hypothesis, Source, Study
from robust_tickets.studies.cells import needs_training, with_dense


def cells(base, batches):
    """Tickets of searches with these batches, and beside each the ticket of a natural search."""
    for batch in batches:
        recipe = with_dense(replace(base, search=replace(base.search, batch=batch)), ("ticket",))
        natural = replace(recipe, search=replace(recipe.search, method="natural"))
        yield Cell(f"{batch}", recipe, (Source("ticket-from", natural),))


def hypotheses(settings, arms):
    """The adversarial ticket against the natural one."""
    comparisons = [Comparison(f"batch {s}", (s, "ticket"), (s, "ticket-from")) for s in settings]
    return [Hypothesis("Adversarial searches find tickets that converge faster", comparisons)]


COMPLETE = {
    "name": "search-batch",
    "question": "does the batch of the search matter?",
    "help": "images in a batch of the search",
    "setting_type": Count,
    "defaults": (16, 32),
    "cells": cells,
    "hypotheses": hypotheses,
    "figure": "early",
    "axis": "batch of the search",
}
"""Every field that a record must have."""

STUDY = Study(**COMPLETE, varies="search.batch", least_settings=2, needs=(needs_training,))
