"""The description of a trained network as RobustBench lists models: a JSON file, from the run's own."""

import json
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.paths import check_other_file
from robust_tickets.evaluation import robustness_csv
from robust_tickets.evaluation.attack_sets import AA_WHOLE
from robust_tickets.runs import files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory

DATASETS = ("cifar10", "cifar100")
"""Those of RobustBench that this package reads."""


def write_model_info(checkpoint: Path, out: Path | None = None) -> tuple[Path, str]:
    """Write the description of a checkpoint in a run directory.

    checkpoint: its file.
    out: file to write; None: beside the checkpoint.

    Returns the file, and a line on what its accuracies were measured on. Raises InputError, and writes
    nothing, for data that RobustBench has not, and where the whole of AutoAttack was not run.
    """
    info = model_info(checkpoint)
    target = out or checkpoint.with_name(f"{checkpoint.stem}-robustbench.json")
    check_other_file(target, checkpoint)
    files.write_text(target, json.dumps(info, indent=2) + "\n")
    return target, f"clean {info['clean_acc']} %, AutoAttack {info['autoattack_acc']} %: {info['footnote']}"


def model_info(checkpoint: Path) -> dict[str, Any]:
    """The fields of RobustBench's model_info; link, name and authors are for the user to fill in."""
    folder = ArmDirectory(checkpoint.parent)
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint} not found")
    if not folder.in_run:
        raise InputError(f"{checkpoint} lies in no run directory, whose recipe has eps and network: give one")
    recipe = RunDirectory.open(folder.run_path).recipe
    if recipe.data.name not in DATASETS:
        raise InputError(
            f"RobustBench has {' and '.join(DATASETS)}, and {checkpoint} was trained on {recipe.data.name}"
        )
    rows = robustness_csv.read_rows(folder.robustness)
    rows = rows[(rows.checkpoint == checkpoint.stem) & (rows.split == "test") & (rows.attack == AA_WHOLE)]
    rows = rows[
        (rows.eps == str(recipe.threat.eps)) & (rows.norm == recipe.threat.norm) & (rows.source == "")
    ]
    if not len(rows):
        raise InputError(
            f"{checkpoint} was not attacked by the whole of AutoAttack at {recipe.threat.norm} "
            f"{recipe.threat.eps}: run `robust-tickets evaluate {checkpoint} --attacks {AA_WHOLE}` first"
        )
    row = rows.loc[rows.n.astype(int).idxmax()]
    record = files.read_object(folder.record, "train the arm again")
    width = f" x{recipe.model.width:g}" * (recipe.model.width != 1)
    return {
        "link": "",
        "name": "",
        "authors": "",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": recipe.data.name,
        "venue": "Unpublished",
        "architecture": f"{recipe.model.name}{width}",
        "eps": str(recipe.threat.eps),
        "clean_acc": f"{100 * row.clean:.2f}",
        "reported": f"{100 * row.accuracy:.2f}",
        "autoattack_acc": f"{100 * row.accuracy:.2f}",
        "footnote": f"{recipe.threat.norm}; measured on {int(row.n):,} test images of {record['data']}, "
        f"{record['density']:.1%} of the weights kept.",
    }
