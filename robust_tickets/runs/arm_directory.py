"""The folder of an arm or a search in a run directory, and that of a frontier: the paths of their files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LEDGER = "ledger.json"
RECIPE = "recipe.toml"
"""The file that tells a run directory from other folders."""


class _Folder(Protocol):
    @property
    def path(self) -> Path: ...


class FileName:
    """An attribute that is the path of a file, by its name in the directory's folder."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, directory: "_Folder", owner: type) -> Path:
        return directory.path / self.name


@dataclass(frozen=True)
class ArmDirectory:
    """The folder of one arm, one search or one search round.

    An evaluation of a checkpoint outside of any run leaves its files in such a folder too.
    """

    path: Path

    ledger = FileName(LEDGER)
    """Seconds, passes and FLOPs; written last, so that it tells a finished folder from others."""
    metrics = FileName("metrics.jsonl")
    """One record an epoch, written anew after each."""
    length = FileName("length.json")
    """The steps of an arm whose length follows from a timing; they are fixed before the first one."""
    diverged = FileName("diverged.json")
    """Why a trial of a tuning has no result."""
    early_metrics = FileName("early.jsonl")
    """One record a validation within the first epochs."""
    ticket = FileName("ticket.safetensors")
    """The ticket of a search."""
    record = FileName("arm.json")
    """The facts of an arm that tables show besides cost and accuracy."""
    best = FileName("best.safetensors")
    """The checkpoint of the best epoch."""
    last = FileName("last.safetensors")
    """The checkpoint of the last epoch."""
    average = FileName("average.safetensors")
    """The checkpoint of the weights' moving average after the last epoch, where the training has one."""
    robustness = FileName("robustness.csv")
    """One row an attack."""
    tensorboard = FileName("tensorboard")
    """The folder of curves for TensorBoard, where they were asked for."""
    states = FileName("state")
    """The folder of the states from which a stopped stage resumes."""

    def __str__(self) -> str:
        return str(self.path)

    @property
    def run_path(self) -> Path:
        """The run directory of an arm's folder."""
        return self.path.parent.parent

    @property
    def in_run(self) -> bool:
        """Whether the folder is in a run directory."""
        return (self.run_path / RECIPE).is_file()

    @property
    def is_finished(self) -> bool:
        """Whether training, or the search, has ended."""
        return self.ledger.is_file()

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """The checkpoints: the best, the last, and the average if there is one."""
        return self.best, self.last, *([self.average] if self.average.is_file() else [])

    def round(self, number: int) -> "ArmDirectory":
        """The folder of a round of the search, counted from 1; the last round's is the search's own."""
        return ArmDirectory(self.path / f"round-{number}")

    def rounds(self) -> list[tuple[int, "ArmDirectory"]]:
        """The finished rounds that have folders of their own, each with its number."""
        pairs = ((folder.name.removeprefix("round-"), folder) for folder in self.path.glob("round-*"))
        rounds = [(int(n), ArmDirectory(folder)) for n, folder in pairs if n.isascii() and n.isdigit()]
        return [(number, round_) for number, round_ in rounds if round_.is_finished]

    def evaluation_ledger(self, checkpoint: Path, account: str = "evaluate") -> Path:
        """The ledger of a checkpoint's evaluations; account: evaluate, or judge for those by AutoAttack."""
        return self.path / f"{account}-{checkpoint.stem}.ledger.json"

    def verdicts(self, checkpoint: Path, digest: str) -> Path:
        """The verdict matrix of one evaluation of a checkpoint."""
        return self.path / f"verdicts-{checkpoint.stem}-{digest}.npz"

    def all_verdicts(self, digest: str) -> list[Path]:
        """The verdict matrices of that evaluation, of any checkpoint; the digest tells the network too."""
        return sorted(self.path.glob(f"verdicts-*-{digest}.npz"))

    def sanity(self, checkpoint: Path, digest: str) -> Path:
        """The sanity checks of one evaluation of a checkpoint."""
        return self.path / f"sanity-{checkpoint.stem}-{digest}.json"

    def all_sanity(self, checkpoint: Path) -> list[Path]:
        """The sanity checks of all evaluations of a checkpoint."""
        return sorted(self.path.glob(f"sanity-{checkpoint.stem}-*.json"))

    def curve(self, checkpoint: Path, digest: str) -> Path:
        """The plot of a checkpoint's robust accuracy over eps."""
        return self.path / f"robustness-{checkpoint.stem}-{digest}.svg"


@dataclass(frozen=True)
class FrontierFolder:
    """A folder with the files of a frontier: a run directory, or any other folder."""

    path: Path

    plot = FileName("frontier.svg")
    """Robust accuracy over cost."""
    markdown = FileName("frontier.md")
    """The table and the answers for people."""
    csv = FileName("frontier.csv")
    """The table for programs."""
