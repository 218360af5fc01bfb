"""The files of a Slurm job, by which it and the client that submitted it know of each other."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from robust_tickets.runs import files

DEATHS = 4
"""So often may a job die; then it is given up."""


@dataclass(frozen=True)
class JobFiles:
    """The files of a job in a folder; submitit names some of them.

    id: the job's number.
    """

    id: str
    folder: Path

    @property
    def result(self) -> Path:
        """What the task gave, or how it failed; there once it has ended by itself."""
        return self.folder / f"{self.id}_0_result.pkl"

    @property
    def log(self) -> Path:
        """What the job wrote to stdout and stderr."""
        return self.folder / f"{self.id}_0_log.out"

    @property
    def lines(self) -> Path:
        """The lines that the client shows; there once the task has begun."""
        return self.folder / f"{self.id}.lines"

    @property
    def cancel_mark(self) -> Path:
        """There where no client wants the job any more."""
        return self.folder / f"{self.id}.cancelled"

    @property
    def deaths(self) -> int:
        """How often it died."""
        file = self.folder / f"{self.id}.deaths"
        return len(file.read_text().splitlines()) if file.is_file() else 0

    def remove(self) -> None:
        """Remove them all."""
        for pattern in (f"{self.id}_*", f"{self.id}.*"):
            for file in self.folder.glob(pattern):
                file.unlink(missing_ok=True)
        for link in self.folder.glob(".submission_file_*"):  # submitit's, to one of those
            if not link.exists():
                link.unlink(missing_ok=True)


@dataclass(frozen=True)
class JobRecord:
    """Which job does a task, for a later client that has the same task.

    file: of the record.
    """

    file: Path

    @classmethod
    def of(cls, folder: Path, task: str) -> "JobRecord":
        """The record of a task of that name in the folder of its job."""
        return cls(folder / f"{hashlib.sha256(task.encode()).hexdigest()[:16]}.json")

    def read(self) -> tuple[JobFiles, str] | None:
        """The job, and the digest of its task; None where there is none."""
        if not self.file.is_file():
            return None
        record = files.read_object(self.file, f"remove {self.file.parent}")
        return JobFiles(str(record["job"]), self.file.parent), str(record["task"])

    def write(self, job: JobFiles, digest: str) -> None:
        """Record the job; digest: of its task."""
        files.write_json(self.file, {"job": job.id, "task": digest})

    def remove(self) -> None:
        """Remove the record."""
        self.file.unlink(missing_ok=True)
