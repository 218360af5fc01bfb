"""Places names beside the points of a plot, so that none lies over another name or over a point."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""Left, bottom, right and top."""

Array = NDArray[np.float64]

_RADII = (9, 18, 30, 45, 65, 90, 120, 160, 210)
_ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200, 70, 290, 110, 250)
_LINE_FROM = 15.0  # farther than this, a thin line leads from the name to its point
_MARGIN = 2.0  # around a name
_MARK = 5.0  # half the width of a mark
_THIN = 1.5  # half the width of an obstacle without any
_LIGHT = 0.1  # how much covering an obstacle counts beside covering a name


def place(
    sizes: Sequence[tuple[float, float]],
    points: Sequence[tuple[float, float]],
    inside: Box,
    obstacles: Sequence[Box] = (),
) -> list[Box]:
    """Boxes of names, each beside its point and over nothing that was placed before; all in pixels.

    A name takes the first free place of those on rings around its point. Where none is free, it takes the one
    that covers least.

    sizes: width and height of each name.
    points: centres of the marks that are named, which no name may cover.
    inside: where names may lie.
    obstacles: what names should keep off too, as lines and smaller marks.
    """
    centres = np.array(points, dtype=float)
    marks = np.hstack([centres - _MARK, centres + _MARK])
    others = np.array(obstacles, dtype=float).reshape(-1, 4)
    boxes = np.empty((0, 4))
    for size, point in zip(sizes, centres, strict=True):
        places = _places(np.array(size), point)
        outside = size[0] * size[1] - _overlaps(places, np.array([inside]))
        covered = _overlaps(places, np.vstack([marks, boxes])) + _LIGHT * _overlaps(places, others)
        best = np.argmin(np.round(outside + covered, 6))  # the first of equal ones
        boxes = np.vstack([boxes, places[best]])
    return [(left, bottom, right, top) for left, bottom, right, top in boxes.tolist()]


def draw_labels(
    ax: Any,
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    styles: Sequence[dict[str, Any]],
    obstacles: Iterable[Box] = (),
) -> None:
    """Write names beside the points of an axes that neither moves nor changes its limits any more.

    points: in data units; the names of the first ones have the first choice.
    styles: of each text, as matplotlib's `Axes.text` has it.
    obstacles: boxes in data units that names should keep off, such as lines and smaller points.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # measures texts

    renderer = FigureCanvasAgg(ax.figure).get_renderer()  # type: ignore[no-untyped-call]
    pixels = ax.transData.transform(points)
    corners = ax.transData.transform(np.array(list(obstacles)).reshape(-1, 2)).reshape(-1, 4)
    thick = corners + np.array([-_THIN, -_THIN, _THIN, _THIN])
    texts = [
        ax.text(0, 0, name, va="bottom", ha="left", **style)
        for name, style in zip(names, styles, strict=True)
    ]
    extents = [text.get_window_extent(renderer) for text in texts]
    sizes = [(extent.width + 2 * _MARGIN, extent.height + 2 * _MARGIN) for extent in extents]
    boxes = place(sizes, pixels, ax.get_window_extent(renderer).extents, thick)
    back = ax.transData.inverted()
    for text, box, point in zip(texts, boxes, pixels, strict=True):
        text.set_position(back.transform((box[0] + _MARGIN, box[1] + _MARGIN)))
        nearest = np.clip(point, box[:2], box[2:])
        if np.hypot(*(nearest - point)) > _LINE_FROM:
            ends = back.transform([nearest, point])
            ax.plot(*ends.T, color=text.get_color(), linewidth=0.5, alpha=0.6, zorder=1)


def _places(size: Array, point: Array) -> Array:
    """Boxes on rings around a point, the near ones first: (places, 4)."""
    angles = np.radians(_ANGLES)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # the corner or the middle of the side that faces the point lies on the ring
    sides = np.where(abs(directions) < 0.4, 0, np.sign(directions))
    low = point + np.array(_RADII)[:, None, None] * directions - size * (1 - sides) / 2
    low = low.reshape(-1, 2)
    return np.hstack([low, low + size])


def _overlaps(boxes: Array, others: Array) -> Array:
    """The area of each box that others cover, added up over them: (boxes,)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)  # type: ignore[no-any-return]
