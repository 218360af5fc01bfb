"""A strip of adversarial images: each clean image, its perturbation made visible, and the attacked image."""

import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_tickets.report.figures import new_figure, styled

Images = NDArray[np.float32]
"""(N, H, W, C) in [0, 1]; C is 1 or 3."""

_GREY = 0.5
_TITLE_COLUMNS = 100


@dataclass(frozen=True)
class Strip:
    """Samples side by side.

    clean, adversarial: the images.
    labels, before, after: numbers of the true class, and of those predicted without and with the attack.
    """

    clean: Images
    adversarial: Images
    labels: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]


def visible_perturbation(strip: Strip) -> tuple[Images, int]:
    """The perturbations around grey, times the largest whole number that cuts none off; and that number.

    1 where there is no perturbation.
    """
    perturbation = strip.adversarial - strip.clean
    largest = float(np.abs(perturbation).max())
    factor = max(1, int(_GREY / largest + 1e-4)) if largest else 1  # 8/255 in float32 is a little more
    return np.clip(_GREY + factor * perturbation, 0, 1), factor


@styled
def strip_figure(strip: Strip, title: str) -> Any:
    """Three rows of images, a column a sample, with the classes that the network sees."""
    perturbation, factor = visible_perturbation(strip)
    n = len(strip.labels)
    lines = textwrap.wrap(title, _TITLE_COLUMNS)
    figure = new_figure(max(6.0, 1.15 * n), 4.3 + 0.15 * len(lines))
    axes = figure.subplots(3, n, squeeze=False)
    rows = (
        ("clean", strip.clean, strip.before),
        (f"perturbation\n× {factor}\n(grey: none)", perturbation, None),
        ("adversarial", strip.adversarial, strip.after),
    )
    for row, (heading, images, classes) in enumerate(rows):
        for column in range(n):
            ax, image = axes[row, column], images[column]
            grey = image.shape[-1] == 1
            shown = image[..., 0] if grey else image
            ax.imshow(shown, cmap="gray" if grey else None, vmin=0, vmax=1, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            if classes is not None:
                right = classes[column] == strip.labels[column]
                ax.set_xlabel(f"seen as {classes[column]}", fontweight="normal" if right else "bold")
            if row == 0:
                ax.set_title(f"class {strip.labels[column]}", fontsize=9)
        axes[row, 0].set_ylabel(heading)
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    return figure
