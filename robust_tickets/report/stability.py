"""The stability of a ticket: text and plot of the error between two of its trainings."""

from pathlib import Path

import pandas as pd

from robust_tickets.report.figures import legend_below, svg_figure

LINES = {"clean_error": ("clean", "#0072B2"), "robust_error": ("under PGD-20", "#D55E00")}
"""Column -> its words and its colour."""


def stability_text(errors: pd.DataFrame, instabilities: dict[str, float], stable: float, images: int) -> str:
    """A sentence a kind of error, and how to read it.

    errors: a row a point, with `place` and the columns of LINES.
    instabilities: by column, fractions.
    stable: the instability below which a start is called stable.
    images: number of test images.
    """
    lines = []
    for column, (words, _) in LINES.items():
        curve, value = errors[column], instabilities[column]
        top = int(curve.argmax())
        verdict = "stable" if value < stable else "not stable"
        lines.append(
            f"error {words}: {curve.iloc[0]:.1%} and {curve.iloc[-1]:.1%} at the ends, at most "
            f"{curve.iloc[top]:.1%} on the line (at {errors.place.iloc[top]:.2f}): instability "
            f"{100 * value:.1f} points, {verdict}"
        )
    lines.append(
        f"Errors on {images:,} test images; BatchNorm statistics are estimated anew at each point. "
        f"Frankle et al. 2020 call a start stable below {100 * stable:g} points. This is one pair of "
        "trainings: other --seed values give other pairs."
    )
    return "\n".join(lines)


def stability_plot(errors: pd.DataFrame, title: str, file: Path) -> None:
    """Draw the errors along the line, with the mean of the two ends dotted, as SVG."""
    with svg_figure(file, (6.4, 4.2)) as figure:
        ax = figure.subplots()
        for column, (words, colour) in LINES.items():
            curve = 100 * errors[column]
            ax.plot(errors.place, curve, marker="o", markersize=3, color=colour, label=words)
            ax.axhline((curve.iloc[0] + curve.iloc[-1]) / 2, color=colour, linewidth=0.8, linestyle=":")
        ax.plot([], [], color="0.4", linewidth=0.8, linestyle=":", label="mean of the two ends")
        ax.set_xlabel("from the weights of one training to those of the other")
        ax.set_ylabel("error on test, %")
        ax.set_ylim(bottom=0)
        legend_below(figure)
        figure.suptitle(title, fontsize=10)
