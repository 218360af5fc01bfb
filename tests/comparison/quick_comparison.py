"""Comparisons without what a test does not look at: sanity checks, tables and plots."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch


@contextmanager
def quick_comparisons(*, report: bool = False) -> Iterator[None]:
    """In the block no checkpoint is checked for sanity, and nothing is reported.

    report: comparisons write their tables and plots all the same.
    """
    from robust_tickets.base.ledger import Passes
    from robust_tickets.evaluation.sanity_report import SanityReport

    checks = "robust_tickets.stages.evaluation_run.run_sanity_checks"
    with ExitStack() as stack:
        stack.enter_context(patch(checks, lambda *_: SanityReport((), 40, Passes())))
        if not report:
            stack.enter_context(patch("robust_tickets.comparison.compare.write_report", lambda run: None))
        yield
