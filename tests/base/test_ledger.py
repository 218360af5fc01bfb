"""The phases of a ledger add up to its stage."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_tickets.base.ledger import CHARGED_PHASES, PHASES, Ledger, Passes
from robust_tickets.base.machine_load import MachineLoad


class FakeClock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 0.0

    def fail_after_a_second(self):
        self.now += 1
        raise RuntimeError

    def mark(self):
        return self.now

    def seconds(self, begin, end):
        return end - begin


def node(children):
    return st.tuples(st.sampled_from(PHASES), st.integers(0, 9), children)


@given(st.recursive(node(st.just([])), lambda inner: node(st.lists(inner, max_size=3)), max_leaves=12))
def test_all_phases_add_up_to_the_stage(tree):
    clock = FakeClock()
    ledger = Ledger("train", clock)
    expected = dict.fromkeys(PHASES, 0.0)

    def walk(node):
        phase, seconds, inner = node
        with ledger.phase(phase):
            clock.now += seconds
            expected[phase] += seconds
            for child in inner:
                walk(child)
            ledger.settle()

    with ledger.measure():
        clock.now += 1
        expected["other"] += 1
        walk(tree)
    assert ledger.seconds == expected
    report = ledger.report()
    assert report["total_seconds"] == clock.now
    assert report["charged_seconds"] == sum(expected[p] for p in CHARGED_PHASES)


def test_validation_and_loading_are_never_charged():
    ledger = Ledger("train")
    for phase in PHASES:
        ledger.count(phase, Passes(forward=1), 10)
    assert ledger.charged_passes == len(PHASES) - 2
    assert ledger.charged_flops == 10 * (len(PHASES) - 2)


def test_a_full_backward_pass_costs_two_forward_passes():
    ledger = Ledger("train")
    ledger.count("update", Passes(forward=3, input_backward=5, full_backward=7), 100)
    assert ledger.flops["update"] == 100 * (3 + 5 + 2 * 7)
    assert ledger.passes["update"].total == 15


def test_an_error_ends_a_phase():
    clock = FakeClock()
    ledger = Ledger("train", clock)
    with ledger.measure():
        with pytest.raises(RuntimeError), ledger.phase("attack"):
            clock.fail_after_a_second()
        clock.now += 4
    assert (ledger.seconds["attack"], ledger.seconds["other"]) == (1, 4)


def test_getting_an_item_is_charged_to_the_phase():
    clock = FakeClock()
    ledger = Ledger("train", clock)

    def items():
        for i in range(3):
            clock.now += 1
            yield i

    with ledger.measure():
        for _ in ledger.charge_each("data", items()):
            clock.now += 10
    assert (ledger.seconds["data"], ledger.seconds["other"]) == (3, 30)


entry = st.tuples(
    st.sampled_from(PHASES),
    st.integers(0, 9),
    st.builds(Passes, *[st.integers(0, 99)] * 3),
    st.integers(0, 10**12),
)


def report_of(ledger, clock, entries):
    with ledger.measure():
        for phase, seconds, passes, flops in entries:
            with ledger.phase(phase):
                clock.now += seconds
            ledger.count(phase, passes, flops)
    report = json.loads(json.dumps(ledger.report()))  # as it is read back from a file
    report.pop("machine_load")  # by the clock of the real machine
    return report


@given(st.lists(st.lists(entry, max_size=4), min_size=2, max_size=4))
def test_a_resumed_ledger_equals_an_unstopped_one(parts):
    """Each part begins with the report of the one before."""
    clock = FakeClock()
    whole = report_of(Ledger("search", clock), clock, [entry for part in parts for entry in part])
    report = None
    for part in parts:
        ledger = Ledger("search", clock)
        if report is not None:
            ledger.add_report({**report, "machine_load": MachineLoad().report()})
        report = report_of(ledger, clock, part)
    assert report == whole


def test_adding_a_report_leaves_it_unchanged():
    ledger, earlier = Ledger("search"), Ledger("search")
    earlier.count("update", Passes(3, 5, 7), 2)
    report = earlier.report()
    before = json.dumps(report)
    ledger.add_report(report)
    ledger.count("update", Passes(1, 1, 1), 2)
    assert json.dumps(report) == before
    assert earlier.passes["update"] == Passes(3, 5, 7)
    assert ledger.passes["update"] == Passes(4, 6, 8)
