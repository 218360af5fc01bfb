"""Figures of matplotlib as bytes or files: the same results give the same bytes."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Form = Literal["svg", "png"]

FORMS: tuple[Form, ...] = ("svg", "png")

PNG_DOTS = 150
"""Dots an inch of a PNG: legible in print at half of its width."""

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "robust-tickets",
    "font.size": 9,
    "svg.fonttype": "none",
    "hatch.linewidth": 0.6,
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Have a function that draws a figure use the style of all figures."""

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        with _style():
            return draw(*args, **kwargs)

    return in_style


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure of that size in inches, whose parts keep clear of each other."""
    from matplotlib.figure import Figure  # takes longer to import than a command that draws nothing

    return Figure(figsize=(width, height), layout="constrained")


@styled
def image(figure: Any, form: Form = "svg") -> bytes:
    """The figure as the bytes of an SVG or PNG file."""
    for ax in figure.axes:
        ax.grid(alpha=0.25)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    if form == "svg":
        figure.savefig(file, format="svg", metadata={"Date": None})
    else:
        figure.savefig(file, format="png", dpi=PNG_DOTS, metadata={"Software": None})
    return file.getvalue()


@contextmanager
def svg_figure(file: Path, size: tuple[float, float]) -> Iterator[Any]:
    """A matplotlib figure (width and height in inches), written to the file at the end of the block."""
    with _style():
        figure = new_figure(*size)
        yield figure
    file.write_bytes(image(figure))


def legend_below(figure: Any, handles: Any = None, columns: int = 4) -> None:
    """Put one legend below all panels, where it covers no data.

    handles: what it explains; None: the labelled lines of the first panel.
    """
    if handles is None:
        handles = figure.axes[0].get_legend_handles_labels()[0]
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(columns, len(handles)),
            frameon=False,
            fontsize=8,
            handlelength=3,
        )


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield
