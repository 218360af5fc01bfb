"""How long tasks take on several machines: bounds, and a slow simulation of unit steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_tickets.comparison.schedule import TimedTask, chain, makespan, repeated


@st.composite
def sequences(draw: st.DrawFn) -> list[TimedTask]:
    tasks: list[TimedTask] = []
    for place in range(draw(st.integers(1, 8))):
        after = draw(st.sets(st.integers(0, place - 1), max_size=3)) if place else set()
        tasks.append(TimedTask(float(draw(st.integers(1, 5))), tuple(sorted(after))))
    return tasks


def simulated(tasks: list[TimedTask], machines: int) -> int:
    """The same by steps of a second."""
    left = [int(task.seconds) for task in tasks]
    begun: set[int] = set()
    for second in range(1, 1000):
        for place, task in enumerate(tasks):
            is_ready = all(left[before] == 0 for before in task.after)
            busy = sum(1 for other in begun if left[other])
            if place not in begun and is_ready and busy < machines:
                begun.add(place)
        for place in begun:
            left[place] = max(0, left[place] - 1)
        if not any(left):
            return second
    raise AssertionError("it does not end")


@given(sequences(), st.integers(1, 4))
def test_it_is_what_a_simulation_takes_and_within_grahams_bounds(
    tasks: list[TimedTask], machines: int
) -> None:
    took, work, longest = makespan(tasks, machines), sum(task.seconds for task in tasks), chain(tasks)
    assert took == simulated(tasks, machines)
    assert max(work / machines, longest) <= took <= work / machines + (1 - 1 / machines) * longest + 1e-9


@given(sequences())
def test_one_machine_takes_the_work_and_many_take_the_longest_chain(tasks: list[TimedTask]) -> None:
    assert makespan(tasks, 1) == sum(task.seconds for task in tasks)
    assert makespan(tasks, len(tasks)) == chain(tasks)


def test_seeds_wait_for_their_own_tasks_alone() -> None:
    seed = [TimedTask(3.0), TimedTask(1.0, (0,))]
    assert repeated(seed, 2) == [*seed, TimedTask(3.0), TimedTask(1.0, (2,))]
    assert makespan(repeated(seed, 4), 4) == pytest.approx(4.0)
