"""The table of a frontier: what each arm costs and keeps, and who is on the front or dominated by whom."""

from statistics import mean

import pandas as pd

from robust_tickets.report.candidates import Candidate, Cost, Frontier
from robust_tickets.report.chance import one_class
from robust_tickets.report.frontier import dominator, times_on_front
from robust_tickets.report.frontier_answers import (
    COST_NAMES,
    Question,
    answers,
    cost_ratio,
    difference_cell,
    differences,
    percent,
)
from robust_tickets.report.marks import DAGGER, DOUBLE_DAGGER
from robust_tickets.report.verdict import LEAST_SEEDS, interval, seeds_interval
from robust_tickets.runs.files import csv_text

COSTS: tuple[Cost, ...] = ("flops", "seconds")


def frontier_table(frontier: Frontier, of: str = "dense") -> pd.DataFrame:
    """The frontier as a table, a row a candidate, by rising FLOPs.

    Accuracies are fractions, means over the seeds; low and high are the 95 % interval of Student's t, empty
    with fewer than three seeds. difference is the robust accuracy minus that of the arm `of`, paired by seed.
    flops and seconds are all that is charged to the arm, the search included; flops_ratio and seconds_ratio
    are those over the means of the arm `of`, which ratios_to names. For each cost, on_front says whether the
    means are on the front, dominated_by names the cheapest on it that dominates the others, and
    seeds_on_front counts the seeds in which the candidate is on it. An arm that is no more robust than one
    class for all images (at_chance) is on no front and dominated by none. Where seconds cannot be compared,
    they are empty. Raises InputError for an unknown arm `of`.
    """
    reference = frontier.reference(of)
    rows = [_row(frontier, candidate, reference) for candidate in frontier.by_cost("flops")]
    table = pd.DataFrame(rows)
    for cost in COSTS:
        points = frontier.contenders(cost)
        dominators = {name: dominator(points, name) for name in points}
        times = times_on_front(frontier.seed_points(cost))
        table[f"on_front_{cost}"] = [dominators.get(name) == "" for name in table.arm]
        table[f"dominated_by_{cost}"] = [dominators.get(name, "") for name in table.arm]
        table[f"seeds_on_front_{cost}"] = [times.get(name, 0) for name in table.arm]
    return table


def _row(frontier: Frontier, candidate: Candidate, reference: Candidate) -> dict[str, object]:
    row: dict[str, object] = {
        "arm": candidate.name,
        "weights": candidate.weights,
        "attack": frontier.judge.attack,
        "seeds": len(frontier.seeds),
    }
    for cost in COSTS:
        own, other = candidate.cost(cost), reference.cost(cost)
        row[cost] = mean(own) if own else None
        row[f"{cost}_ratio"] = sum(own) / sum(other) if own and other else None
    row["ratios_to"] = reference.name
    for name, values in (("robust", candidate.robust), ("clean", candidate.clean)):
        known = len(values) >= LEAST_SEEDS
        low, high = seeds_interval(values) if known else (None, None)
        row |= {f"{name}_mean": mean(values), f"{name}_low": low, f"{name}_high": high}
    values = differences(candidate, reference)
    low, high = interval(values) if len(values) >= LEAST_SEEDS else (None, None)
    row |= {"difference_mean": mean(values), "difference_low": low, "difference_high": high}
    return row | {"at_chance": frontier.is_at_chance(candidate.name)}


def frontier_csv(frontier: Frontier, question: Question) -> str:
    """The table as CSV."""
    return csv_text(frontier_table(frontier, question.of), 6)


def frontier_markdown(frontier: Frontier, question: Question) -> str:
    """The table for people, with its columns aligned, the answers and how to read the figures.

    Raises InputError where a question has no answer, as `answers` does.
    """
    paragraphs = [*answers(frontier, question), frontier_notes(frontier, question)]
    titles, cells = frontier_cells(frontier, question)
    rows = [titles, *cells]
    return "\n\n".join([f"**{frontier.title}**", _aligned(rows), *paragraphs]) + "\n"


def frontier_cells(frontier: Frontier, question: Question) -> tuple[list[str], list[list[str]]]:
    """The heads of the columns, and a row of texts a candidate, the cheapest first."""
    return _titles(frontier, question), _cells(frontier, question)


def _titles(frontier: Frontier, question: Question) -> list[str]:
    name = frontier.reference(question.of).name
    return [
        "arm",
        *(f"{COST_NAMES[cost]} / {name}" for cost in COSTS),
        f"{frontier.judge.title} %",
        f"robust - {name}, points",
        "clean %",
        f"front ({COST_NAMES[question.cost]})",
        "seeds on it",
    ]


def _cells(frontier: Frontier, question: Question) -> list[list[str]]:
    """The rows for people, the cheapest first, and those whose cost is not known last."""
    reference, cost = frontier.reference(question.of), question.cost
    table = frontier_table(frontier, question.of).set_index("arm")
    cells = []
    for name in table.sort_values(cost, kind="stable").index:
        candidate = frontier[str(name)]
        row = table.loc[name]
        reason = "at chance" if row.at_chance else row[f"dominated_by_{cost}"]
        standing = "yes" if row[f"on_front_{cost}"] else f"no: {reason}"
        times = f"{row[f'seeds_on_front_{cost}']} of {len(frontier.seeds)}"
        cells.append(
            [
                candidate.name,
                *(cost_ratio(candidate, reference, each) for each in COSTS),
                percent(candidate.robust),
                difference_cell(candidate, reference),
                percent(candidate.clean),
                *((standing, times) if candidate.cost(cost) else ("-", "-")),
            ]
        )
    return cells


def _aligned(rows: list[list[str]]) -> str:
    """A markdown table that can be read as plain text too; all columns but the first to the right."""
    widths = [max(4, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(f"{cell:{'<' if i == 0 else '>'}{widths[i]}}" for i, cell in enumerate(row)) + " |"
        for row in rows
    ]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def frontier_notes(frontier: Frontier, question: Question) -> str:
    """How to read the figures, as one paragraph."""
    weights = {candidate.weights for candidate in frontier.candidates}
    judged = (
        "last epoch" if weights == {frontier.judge.checkpoint} else "last epoch unless the name says other"
    )
    several = len(frontier.seeds) >= LEAST_SEEDS
    intervals = (
        "with 95 % intervals of Student's t"
        if several
        else f"without intervals, for which at least {LEAST_SEEDS} seeds are needed"
    )
    paired = " (those of differences paired by seed)" if several else ""
    twice = len({c.arm for c in frontier.candidates}) < len(frontier.candidates) and len(weights) > 1
    jobs = max(candidate.jobs for candidate in frontier.candidates)
    machines = max(candidate.machines for candidate in frontier.candidates)
    unknown: dict[str, list[str]] = {}
    for candidate in frontier.candidates:
        if candidate.no_seconds:
            unknown.setdefault(candidate.no_seconds, []).append(f"`{candidate.name}`")
    parts = [
        frontier.remarks,
        f"Robust accuracy is that of the {judged}, under {frontier.judge.title}, on {frontier.images:,} test "
        f"images; means over seeds, {intervals}{paired}. Costs are all that is charged to an arm, its "
        "search or first stage included. `no: X`: X costs no more and is at least as robust. The place of an "
        "arm is as sure as its seeds agree on it.",
        f"`no: at chance`: no more robust than {one_class(frontier.chance, frontier.images)}."
        if any(frontier.is_at_chance(candidate.name) for candidate in frontier.candidates)
        else "",
        "Which weights of an arm to take is to be chosen beforehand or on validation images: the better of "
        "two rows of this table is a choice on test images."
        if twice
        else "",
        f"{DAGGER} Taken while up to {jobs} jobs ran at a time." if jobs > 1 else "",
        f"{DOUBLE_DAGGER} Continued on another machine: seconds cannot be compared, FLOPs can."
        if machines > 1
        else "",
        *(
            f"Seconds of {', '.join(names)} are left out: they were taken {reason}."
            for reason, names in unknown.items()
        ),
    ]
    return " ".join(filter(None, parts))
