"""How long tasks take on several machines, each after those that it waits for."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class TimedTask:
    """seconds: of the task alone. after: positions of the earlier tasks of its sequence that it waits for."""

    seconds: float
    after: tuple[int, ...] = ()


def repeated(tasks: Sequence[TimedTask], times: int) -> list[TimedTask]:
    """The tasks so many times over, as for several seeds."""
    n = len(tasks)
    return [
        replace(task, after=tuple(n * copy + place for place in task.after))
        for copy in range(times)
        for task in tasks
    ]


def makespan(tasks: Sequence[TimedTask], machines: int) -> float:
    """Seconds until all tasks are done, where a free machine takes the first one that may begin.

    That is at most work / machines + chain (Graham 1966), and at least the larger of the two.
    """
    waiting = [len(set(task.after)) for task in tasks]
    later: list[list[int]] = [[] for _ in tasks]
    for place, task in enumerate(tasks):
        for before in set(task.after):
            later[before].append(place)
    ready = [place for place, count in enumerate(waiting) if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < machines:
            place = heapq.heappop(ready)
            heapq.heappush(running, (now + tasks[place].seconds, place))
        now, done = heapq.heappop(running)
        for place in later[done]:
            waiting[place] -= 1
            if not waiting[place]:
                heapq.heappush(ready, place)
    return now


def chain(tasks: Sequence[TimedTask]) -> float:
    """Seconds of the longest chain of tasks that wait for one another: no number of machines takes less."""
    ends: list[float] = []
    for task in tasks:
        ends.append(task.seconds + max((ends[place] for place in task.after), default=0.0))
    return max(ends, default=0.0)
