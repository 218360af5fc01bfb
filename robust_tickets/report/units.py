"""Units of costs for axes: the largest of which there are at least two."""

from robust_tickets.report.candidates import Cost

_UNITS: dict[Cost, tuple[tuple[float, str], ...]] = {
    "flops": (
        (1e18, "EFLOPs"),
        (1e15, "PFLOPs"),
        (1e12, "TFLOPs"),
        (1e9, "GFLOPs"),
        (1e6, "MFLOPs"),
        (1.0, "FLOPs"),
    ),
    "seconds": ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")),
}


def unit(cost: Cost, largest: float) -> tuple[float, str]:
    """The unit in which the largest cost is at least two: how many FLOPs or seconds it is, and its name."""
    return next((each for each in _UNITS[cost] if largest >= 2 * each[0]), _UNITS[cost][-1])
