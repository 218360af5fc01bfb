"""The unit of FLOPs in an estimate."""

import pandas as pd
import pytest

from robust_tickets.comparison.estimate import Estimate
from robust_tickets.comparison.schedule import TimedTask


@pytest.mark.parametrize(
    ("flops", "cells"),
    [
        ((2_000_000, 0), ["0.002 G", "0.000 G"]),
        ((1_234_000_000, 999e12, 0), ["1.234 G", "999,000.000 G", "0.000 G"]),
        ((1e12, 2.5e15), ["1.000 T", "2,500.000 T"]),
        ((1e15, 1e18), ["1.000 P", "1,000.000 P"]),
    ],
)
def test_all_rows_have_the_largest_unit_in_which_each_is_one_or_more(flops, cells):
    rows = pd.DataFrame({"arm": ["dense", "ticket", "random"][: len(flops)], "flops": flops})
    lines = str(Estimate(rows, 1.0, 1.0)).splitlines()[1 : 1 + len(flops)]
    assert [" ".join(line.split()[1:]) for line in lines] == cells


def test_a_warning_comes_last():
    rows = pd.DataFrame({"flops": [1e9]})
    assert str(Estimate(rows, 1.0, 1.0, warning="busy")).endswith("\nWARNING: busy")
    assert "WARNING" not in str(Estimate(rows, 1.0, 1.0))


def test_times_on_several_machines_are_those_of_the_schedule():
    rows, tasks = pd.DataFrame({"flops": [1e9]}), (TimedTask(30.0), TimedTask(10.0, (0,)), TimedTask(20.0))
    last = str(Estimate(rows, 1.0, 1.0, tasks=tasks)).splitlines()[-1]
    same = "40 seconds, 40 seconds, 40 seconds (the longest chain: 40 seconds)"
    assert last == f"on 2, 8, 64 such machines: at most {same}"
    assert "machines" not in str(Estimate(rows, 1.0, 1.0, tasks=tasks[:1]))
