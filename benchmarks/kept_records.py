"""What is kept of an experiment's run directories: everything but weights, seed by seed."""

import shutil
from pathlib import Path

import pandas as pd

from robust_tickets.report.write import write_report
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.merging import merge
from robust_tickets.studies.study_files import StudyFolder

LEFT_OUT = shutil.ignore_patterns("*.safetensors", "state", "verdicts-*", ".*", "*.html", "*.svg")
"""What no folder keeps: weights, states, and files that are made from the others or are large."""


def keep_run(run: Path, kept: Path) -> None:
    """Keep the records of a comparison beside those of other seeds, and write the report of all.

    A seed that is kept already is replaced: AutoAttack may since have judged more of its rows.
    """
    _copy(run, kept)
    folder = RunDirectory.open(kept)
    write_report(folder)
    folder.page.unlink()  # it can be made again, and is large


def keep_study(written: Path, seed: int, kept: Path, runs: Path) -> None:
    """Keep one seed of a study: its rows beside those of earlier seeds, the verdict of all, and the records.

    written: the study's folder, beside which its run directories are.
    kept, runs: where its rows and its run directories are kept.
    """
    folder = StudyFolder.open(written)
    own = StudyFolder(kept, folder.study, folder.base)
    own.write_recipe()
    rows = folder.read_rows()
    before = own.read_rows()
    earlier = [before[before.seed != seed]] if len(before) else []
    new = rows[rows.seed == seed]
    own.write(pd.concat([*earlier, new], ignore_index=True))
    for name in new.run.drop_duplicates():
        _copy(written.parent / name, runs / name)


def _copy(run: Path, kept: Path) -> None:
    """Copy the records of a run directory, or add its seeds to those that are kept."""
    part = kept.with_name(f".{kept.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(run, part, ignore=LEFT_OUT)
    if not kept.exists():
        part.rename(kept)
        return
    for seed in set(RunDirectory.open(part).seeds()) & set(RunDirectory.open(kept).seeds()):
        shutil.rmtree(kept / f"seed-{seed}")
    merge(kept, [part])
    shutil.rmtree(part)
