"""How far a run is: each arm of each seed, its curve so far, and what is left."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robust_tickets.base.progress import clock
from robust_tickets.recipe.arms import ARMS
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory

if TYPE_CHECKING:
    from rich.table import Table

BLOCKS = "▁▂▃▄▅▆▇█"
_LEAST, _MOST = 5, 20  # epochs of a sparkline
_FIXED = 46  # columns of the table besides those of names, states and sparklines
_CAPTION = "accuracies on validation images, after the last epoch so far"


@dataclass(frozen=True)
class Progress:
    """An arm or a search of one seed.

    state: done, running, trained (its evaluation goes on), or waiting.
    records: of its epochs so far.
    age: seconds since the last of them was written.
    seconds: that its training took; None: it is not over.
    """

    seed: int
    arm: str
    state: str
    records: list[dict[str, Any]]
    age: float
    seconds: float | None


def progress(run: RunDirectory, seeds: Sequence[int] = ()) -> list[Progress]:
    """The searches and arms of a run, seed by seed.

    seeds: those that are expected besides the ones that have begun.
    """
    return [one for seed in sorted({*run.seeds(), *seeds}) for one in _of_seed(run, seed)]


def _of_seed(run: RunDirectory, seed: int) -> Iterator[Progress]:
    arms = run.recipe.compare.trained
    names: list[str] = []
    for arm in arms:
        before = ARMS[arm].before
        names += [before.folder] if before is not None and before.folder not in names else []
        names.append(arm)
    for name in dict.fromkeys(names):
        yield _progress(seed, name, run.arm(seed, name), evaluated=name in arms)


def _progress(seed: int, name: str, folder: ArmDirectory, *, evaluated: bool) -> Progress:
    records = files.read_jsonl(folder.metrics) if folder.metrics.is_file() else []
    age = time.time() - folder.metrics.stat().st_mtime if records else 0.0
    seconds = None
    state = "running" if records or folder.states.is_dir() else "waiting"
    if folder.is_finished:
        ledger = files.read_object(folder.ledger, "remove it")
        seconds = float(ledger.get("total_seconds", ledger["charged_seconds"]))
        state = "trained" if evaluated and not folder.robustness.is_file() else "done"
    return Progress(seed, name, state, records, age, seconds)


def seconds_left(arms: Sequence[Progress]) -> float | None:
    """The seconds that arms which are not over may take, by the same arms of other seeds; None: unknown."""
    taken: dict[str, list[float]] = {}
    for one in arms:
        if one.seconds is not None:
            taken.setdefault(one.arm, []).append(one.seconds)
    left = 0.0
    for one in arms:
        if one.seconds is None:
            if one.arm not in taken:
                return None
            left += sum(taken[one.arm]) / len(taken[one.arm])
    return left


def sparkline(values: Sequence[float], most: int = _MOST) -> str:
    """The last values, so many at most, as blocks, the lowest and the highest at the ends of the scale."""
    values = values[-most:]
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in values)


def watch_table(run: RunDirectory, arms: Sequence[Progress], width: int = 100) -> "Table":
    """The arms as a table for a terminal of so many columns: a narrow one shows fewer epochs."""
    from rich.table import Table

    done = sum(one.state == "done" for one in arms)
    left = seconds_left(arms)
    words = [f"{done} of {len(arms)} done"]
    if left is not None and done < len(arms):
        words.append(f"about {clock(left)} of training left, by the other seeds")
    title = f"{run.path.name}: {', '.join(words)}"
    table = Table(title=title, caption=_CAPTION, title_justify="left", caption_justify="left")
    for name in ("seed", "arm", "state", "epoch", "clean %", "robust %", "robust, by epoch"):
        table.add_column(name, justify="right" if name.endswith(("seed", "%", "epoch")) else "left")
    table.columns[-1].justify = "left"
    states = [_state(one) for one in arms]
    taken = _FIXED + sum(max(map(len, texts), default=0) for texts in (states, [one.arm for one in arms]))
    epochs = max(_LEAST, min(_MOST, width - taken))
    for one, state in zip(arms, states, strict=True):
        last = one.records[-1] if one.records else {}
        table.add_row(
            str(one.seed),
            one.arm,
            state,
            str(last.get("epoch", "")),
            *(f"{100 * last[key]:.1f}" if key in last else "" for key in ("val_clean", "val_robust")),
            sparkline([record["val_robust"] for record in one.records if "val_robust" in record], epochs),
        )
    return table


def _state(one: Progress) -> str:
    """The state of an arm; of a running one also when its last epoch ended."""
    return f"{one.state}, {clock(one.age)} ago" if one.state == "running" and one.records else one.state
