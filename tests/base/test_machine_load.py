"""The load of the machine: what other programs took while a stage was measured."""

import json
import os
from types import SimpleNamespace

import pytest

from robust_tickets.base import machine_load as module
from robust_tickets.base.ledger import Clock, Ledger
from robust_tickets.base.machine_load import MachineLoad

TICK = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A made-up machine: the wall clock, and the busy core-seconds of all programs and of this one."""
    state = SimpleNamespace(wall=0.0, busy=50.0, stolen=0.0, own=0.0, stat=tmp_path / "stat")

    def pass_(wall, others=0.0, own=0.0, stolen=0.0):
        state.wall += wall
        state.own += own
        state.busy += own + others
        state.stolen += stolen
        columns = [state.busy, 0, 0, 1000 + state.wall, 5, 0, 0, state.stolen, 7, 0]  # 7: guests, in user too
        state.stat.write_text(f"cpu  {' '.join(str(round(TICK * column)) for column in columns)}\ncpu0 1 2\n")

    state.pass_ = pass_
    pass_(0)
    monkeypatch.setattr(module, "_STAT", state.stat)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: state.wall))

    def times():
        return SimpleNamespace(user=state.own / 2, children_user=state.own / 2, system=0, children_system=0)

    numbers = {"cpu_count": lambda: 4, "getloadavg": lambda: (1.5, 0.0, 0.0), "sysconf": os.sysconf}
    fake = SimpleNamespace(times=times, **numbers)
    monkeypatch.setattr(module, "os", fake)
    return state


def test_others_are_all_busy_cores_but_those_of_this_process(machine):
    load = MachineLoad()
    with load.watch():
        machine.pass_(10, others=7, own=20)
        machine.pass_(2, stolen=3)
    machine.pass_(100, others=100)  # is nobody's
    report = load.report()
    assert (report["seconds"], report["others"]) == (12, 10)
    assert (report["cores"], report["load_average"]) == (4, 1.5)


@pytest.mark.parametrize(("wall", "others", "warned"), [(10, 21, False), (10, 23, True), (1.9, 7, False)])
def test_it_warns_where_others_take_cores_that_its_threads_need(machine, monkeypatch, wall, others, warned):
    monkeypatch.setattr(module, "torch", SimpleNamespace(get_num_threads=lambda: 2))
    load = MachineLoad()
    with load.watch():
        machine.pass_(wall, others=others)
    assert bool(load.warning) == warned
    if warned:
        assert load.warning.startswith("other programs took 2.3 of 4 cores meanwhile")


def test_parts_add_up_as_one_stretch_does_however_often_they_are_reported(machine):
    first, second = Ledger("train"), Ledger("train")
    with first.measure():
        machine.pass_(3, others=1)
        assert first.report()["machine_load"]["others"] == 1
        machine.pass_(2, others=2)
    with second.measure():
        machine.pass_(4, others=4)
        second.add_report(json.loads(json.dumps(first.report())))
        machine.pass_(1)
    assert second.report()["machine_load"]["seconds"] == 10
    assert second.report()["machine_load"]["others"] == 7


@pytest.mark.parametrize("stat", [None, "cpu  0 0 0 0 0 0 0 0 0 0\n", "nonsense\n"])
def test_a_system_that_does_not_tell_gives_no_figure(machine, stat):
    machine.stat.unlink()
    if stat is not None:
        machine.stat.write_text(stat)
    load = MachineLoad()
    with load.watch():
        machine.wall += 10
    assert load.report()["seconds"] == load.report()["others"] == 0


def test_the_fixed_convolution_is_timed_at_both_ends_and_charged_to_nobody():
    ledger = Ledger("train", Clock())
    with ledger.measure():
        ledger.calibrate("cpu")
        ledger.calibrate("cpu")
    times = ledger.report()["machine_load"]["convolutions"]
    assert len(times) == 2
    assert min(times) > 0
    assert ledger.report()["charged_seconds"] == pytest.approx(ledger.seconds["other"], abs=1e-5)
    later = Ledger("train")
    later.load.convolutions.append(9.0)
    later.add_report(ledger.report())
    assert later.load.convolutions == [*times, 9.0]
