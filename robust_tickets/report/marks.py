"""Marks of seconds that cannot be compared with those of one's own machine, and of accuracies."""

SECTION = "§"
"""Marks accuracies under the whole of AutoAttack."""

DAGGER = "†"
"""Marks seconds that were taken while other jobs ran."""

DOUBLE_DAGGER = "‡"
"""Marks seconds of a run that was continued on another machine."""


def seconds_marks(jobs: int, machines: int) -> str:
    """The marks of an arm's seconds.

    jobs: how many ran at a time while they were taken; machines: on how many the run was computed.
    """
    return f"{DAGGER * (jobs > 1)}{DOUBLE_DAGGER * (machines > 1)}"
