"""What the sanity checks of the table's checkpoints said."""

from typing import Any

from robust_tickets.errors import InputError
from robust_tickets.report.read import complete_seeds
from robust_tickets.runs import RunDirectory, read_json


def sanity_note(run: RunDirectory) -> str:
    """A sentence for under the table; empty for runs whose checkpoints were never checked.

    Raises InputError for a damaged file.
    """
    checked, samples, warnings = 0, 0, []
    for seed in complete_seeds(run):
        for arm in run.recipe.compare.arms:
            for checkpoint in ("best", "last"):
                found = _checks(run, seed, arm, checkpoint)
                if found is None:
                    continue
                checked += 1
                samples = found["samples"]
                warnings += [
                    f"`{arm}` (seed {seed}, {checkpoint}): {check['name']}: {check['figure']}"
                    for check in found["checks"]
                    if not check["passed"]
                ]
    if not checked:
        return ""
    about = f"Sanity checks of {checked} checkpoints on {samples} test images each"
    if not warnings:
        return f"{about}: all passed."
    return f"**{about} warn; these accuracies may mislead.** {'; '.join(warnings)}."


def _checks(run: RunDirectory, seed: int, arm: str, checkpoint: str) -> dict[str, Any] | None:
    """The checks at the run's own threat model on test images, if there are any."""
    threat = run.recipe.threat
    wanted = {"split": "test", "eps": str(threat.eps), "norm": threat.norm, "seed": 0}
    for file in sorted(run.arm(seed, arm).glob(f"sanity-{checkpoint}-*.json")):
        found = read_json(file, "remove it and evaluate again")
        try:
            if wanted.items() <= found["about"].items() and found["samples"] is not None:
                assert all({"name", "figure", "passed"} <= check.keys() for check in found["checks"])
                return dict(found)
        except (KeyError, TypeError, AttributeError, AssertionError):
            raise InputError(f"{file} is damaged: remove it and evaluate again") from None
    return None
