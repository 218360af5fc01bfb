"""Names beside points lie over no other name and over no point."""

from itertools import combinations

import numpy as np
import pytest

from robust_tickets.report.labels import place


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [20, 200])
def test_names_cover_neither_names_nor_points(seed, spread):
    """Even where 12 of them lie within twenty pixels."""
    rng = np.random.default_rng(seed)
    points = [tuple(point) for point in rng.uniform(250, 250 + spread, (12, 2))]
    sizes = [(width, 13.0) for width in rng.uniform(30, 140, 12)]
    boxes = place(sizes, points, (0, 0, 620, 480))
    assert np.array(boxes)[:, 2:] - np.array(boxes)[:, :2] == pytest.approx(np.array(sizes))
    for one, other in combinations(boxes, 2):
        beside = one[2] <= other[0] or other[2] <= one[0]
        assert beside or one[3] <= other[1] or other[3] <= one[1]
    for box in boxes:
        assert min(box) >= 0
        assert box[2] <= 620
        assert box[3] <= 480
        for x, y in points:
            assert not (box[0] < x < box[2] and box[1] < y < box[3])


def test_a_name_stands_right_of_its_point_unless_something_is_there():
    (free,) = place([(50, 10)], [(100, 100)], (0, 0, 500, 500))
    assert free[0] > 100
    assert free[1] < 100 < free[3]
    (left,) = place([(50, 10)], [(100, 100)], (0, 0, 500, 500), [(120, 0, 121, 500)])
    assert left[2] < 100
    (corner,) = place([(50, 10)], [(495, 495)], (0, 0, 500, 500))
    assert max(corner) <= 500
