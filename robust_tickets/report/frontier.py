"""The Pareto front of cost and accuracy: the arms that no other arm beats on both."""

from collections.abc import Iterable, Mapping

Points = Mapping[str, tuple[float, float]]
"""Cost and accuracy by name."""


def front(points: Points) -> list[str]:
    """The names of the points that no other point dominates, the cheapest first.

    A point dominates another where it costs no more, is no less accurate, and is better in one of the two.
    Equal points do not dominate each other: they are on the front together, in the order they are given in.
    """
    names = sorted(points, key=lambda name: (points[name][0], -points[name][1]))  # a stable sort
    on_front: list[str] = []
    for name in names:
        # the last one is the most accurate so far, and costs no more
        if not on_front or points[name][1] > points[on_front[-1]][1] or points[name] == points[on_front[-1]]:
            on_front.append(name)
    return on_front


def dominator(points: Points, name: str) -> str:
    """The cheapest point of the front that dominates this one; "" where none does.

    That is what to choose instead: as accurate at least, for the least cost.
    """
    on_front = front(points)
    if name in on_front:
        return ""
    cost, accuracy = points[name]
    return next(each for each in on_front if points[each][0] <= cost and points[each][1] >= accuracy)


def times_on_front(seeds: Iterable[Points]) -> dict[str, int]:
    """How many of the seeds have each name on their front, for the names of the first seed."""
    fronts = [(points, front(points)) for points in seeds]
    return {name: sum(name in on_front for _, on_front in fronts) for name in fronts[0][0]}
