"""The sanity checks of a run's checkpoints, as a table of the page."""

from collections import Counter

from robust_tickets.report.page.markup import element, prose
from robust_tickets.report.page.table import table
from robust_tickets.report.trust import sanity_reports
from robust_tickets.runs.directory import RunDirectory

_ABSENT = (
    "No sanity checks lie beside the checkpoints. To make them, run `robust-tickets evaluate` on a "
    "checkpoint whose figures matter, and make the report again."
)

_OFF = (
    "The recipe asks for none. `compare` with `--evaluate.sanity all` makes them, in a run directory of its "
    "own, and trains nothing again."
)


def checks_section(run: RunDirectory) -> str:
    """A row a check: how many checkpoints it passed on, and where it did not.

    Raises InputError for a damaged file.
    """
    seen: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    failures: dict[str, list[str]] = {}
    for arm, place, reports in sanity_reports(run):
        for check in (check for report in reports for check in report.checks):
            seen[check.name] += 1
            passed[check.name] += check.passed
            if not check.passed:
                failures.setdefault(check.name, []).append(f"{arm} ({place}): {check.figure}")
    if not seen:
        return element("p", prose(_OFF if run.recipe.evaluate.sanity == "off" else _ABSENT))
    rows = [
        [name, f"{passed[name]} of {n}", "; ".join(failures.get(name, [])) or "-"] for name, n in seen.items()
    ]
    total = sum(seen.values())
    sentence = f"{sum(passed.values())} of {total} checks passed, on {max(seen.values())} checkpoints."
    return element("p", sentence) + table(["check", "passed", "where not"], rows, "Sanity checks")
