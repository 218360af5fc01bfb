"""Marks of seconds that cannot be compared with those of one's own machine, and of accuracies."""

SECTION = "§"
"""Marks accuracies under the whole of AutoAttack."""

DAGGER = "†"
"""Marks seconds that were taken while other jobs ran."""

DOUBLE_DAGGER = "‡"
"""Marks seconds of a run that was continued on another machine."""


PILCROW = "¶"
"""Marks seconds that were taken on a busy machine, or on one that had become slower."""


def seconds_marks(jobs: int, machines: int, disturbed: bool = False) -> str:
    """The marks of an arm's seconds.

    jobs: how many ran at a time while they were taken; machines: on how many the run was computed.
    disturbed: whether the machine was busy or slower meanwhile (`conditions.Conditions`).
    """
    return f"{DAGGER * (jobs > 1)}{DOUBLE_DAGGER * (machines > 1)}{PILCROW * disturbed}"
