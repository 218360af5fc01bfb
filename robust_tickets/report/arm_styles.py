"""How plots tell arms apart: by colour and dashes, and by markers, which are left in grey print."""

from collections.abc import Iterable
from dataclasses import dataclass

from robust_tickets.recipe.arms import ARMS

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
"""Colours of Okabe & Ito, with wine for their yellow, which is lost on white: all but a few readers can tell
them apart."""

DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1, 1, 1)),
)
"""Lines in matplotlib's words: solid, dashed, dotted, with dashes and dots."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h", "d", "8")


@dataclass(frozen=True)
class ArmStyle:
    """The line and the marker of an arm; hollow: whether its marker is not filled."""

    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str
    hollow: bool = False

    @property
    def face(self) -> str:
        """The colour inside of the marker."""
        return "#FFFFFF" if self.hollow else self.colour


def arm_styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """A style for each arm of a plot: no two have the same colour and dashes, none the same marker.

    Arms of the table have their own colour. Those with a plus take the next free one of `PALETTE`; where all
    are taken, they begin again with other dashes. Markers go by the order of the arms.

    Raises ValueError for more arms than there are styles.
    """
    names = list(dict.fromkeys(arms))
    own = {name: ARMS[name].colour for name in names if "+" not in name}
    free = iter(
        [(colour, dash) for dash in DASHES for colour in PALETTE if dash != "-" or colour not in own.values()]
    )
    if len(names) > 2 * len(MARKERS):
        raise ValueError(f"{len(names)} arms are more than a plot can tell apart")
    styles = {}
    for number, name in enumerate(names):
        colour, dash = (own[name], DASHES[0]) if name in own else next(free)
        hollow, place = divmod(number, len(MARKERS))
        styles[name] = ArmStyle(colour, dash, MARKERS[place], bool(hollow))
    return styles
