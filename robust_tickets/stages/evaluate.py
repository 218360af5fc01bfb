"""The stage that judges a checkpoint."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from robust_tickets import evaluation, runs
from robust_tickets.data import Dataset
from robust_tickets.eps import Eps
from robust_tickets.errors import InputError
from robust_tickets.evaluation import Row, attack_named
from robust_tickets.ledger import Ledger, clock_for
from robust_tickets.models import Make, fold, forward_flops
from robust_tickets.recipe import Recipe, check
from robust_tickets.report.read import TABLE_ATTACKS
from robust_tickets.settings import Threat
from robust_tickets.stages.experiment import Experiment, threat_model
from robust_tickets.stages.named import Named, Source
from robust_tickets.stages.pictures import Pictures
from robust_tickets.stages.place import Machine, placed
from robust_tickets.training import Checkpoint

_KEY = ["checkpoint", "split", "attack", "eps", "norm", "n", "seed"]


def evaluate(file: Path, what: Experiment, machine: Machine) -> Path:
    """Judge a checkpoint of a run as its recipe says, on the test images; gives the run's robustness.csv."""
    recipe = what.recipe
    known = rows_of(file.parent / "robustness.csv")
    n = recipe.evaluate.images or what.spec(machine).test_images
    done = known[
        (known.checkpoint == file.stem) & (known.split == "test") & (known.n == n) & (known.seed == 0)
    ]
    if set(TABLE_ATTACKS) <= set(done.attack):
        return file.parent / "robustness.csv"
    return evaluate_file(
        file,
        machine,
        attacks=tuple(TABLE_ATTACKS),
        split="test",
        limit=recipe.evaluate.images,
        source=Source(None, recipe.data.root, recipe.data.download),
        make=what.make,
        images=what.images,
    )[0]


def evaluate_file(
    file: Path,
    machine: Machine,
    *,
    attacks: tuple[str, ...],
    split: str,
    limit: int,
    seed: int = 0,
    source: Source = Source(),
    eps: Eps | None = None,
    norm: Literal["Linf", "L2"] | None = None,
    model: Named = Named(),
    make: Make | None = None,
    images: Dataset | None = None,
    elsewhere: Path | None = None,
    pictures: Path | None = None,
) -> tuple[Path, pd.DataFrame]:
    """Judge any checkpoint; gives the table's file and the rows just made.

    source: the images; by default of the set that the checkpoint was trained on. eps, norm: by default those
    that it was trained against. model: the net as the user names it, for published weights and nets of their
    own. make: the function that makes a net of the user's own. images: the user's own. limit: images,
    balanced over the classes; 0 means all. The rows are merged into `robustness.csv` beside a checkpoint that
    lies in a run directory, and otherwise into one under `elsewhere`; the attacked images are written to
    `pictures`. Raises InputError for what cannot be evaluated.
    """
    file = file.resolve()  # a link stands for the file that it names
    make = model.make if make is None else make
    checkpoint = model.checkpoint(file, source, split, machine)
    recorded = checkpoint.resolved_recipe()
    place = source.data(recorded.data, split)
    what = replace(
        recorded, data=place, threat=Threat(eps or recorded.threat.eps, norm or recorded.threat.norm)
    )
    check(what)
    attacks = tuple(dict.fromkeys((evaluation.CLEAN, *attacks)))  # robust accuracy needs the clean verdicts
    for attack in attacks:
        attack_named(attack, threat_model(what), what.evaluate.rel_step)  # complain before the data are read
    experiment = Experiment(what, images=images)
    spec = experiment.spec(machine)
    if (spec.shape, spec.classes) != (checkpoint.model.shape, checkpoint.model.classes):
        raise InputError(
            f"{file} is a net for {recorded.data.name}, which {place.name} does not fit: leave out "
            "--data.name, or name a set of its shape and classes"
        )
    machine.prepare(what.compute)
    album = Pictures(pictures) if pictures is not None else None
    net = placed(checkpoint.net(make), what.compute, machine)
    folded = fold(net)
    ledger = Ledger("evaluate", clock_for(machine.device))
    with ledger.running():
        with ledger.phase("load"):
            dataset = experiment.load(machine)
        if elsewhere is None and dataset.fingerprint != checkpoint.data:
            raise InputError(
                f"{file} was trained on other images than these ({checkpoint.data}, not "
                f"{dataset.fingerprint}): give the same --data.root, or choose another folder by --runs"
            )
        judged = getattr(dataset, split).first(limit)
        with machine.progress.stage(f"evaluate {file.stem}", len(judged) * len(attacks)) as meter:
            with ledger.phase("attack"):
                rows = evaluation.evaluate(
                    folded,
                    judged,
                    attacks,
                    threat_model(what),
                    rel_step=what.evaluate.rel_step,
                    batch=what.evaluate.batch,
                    seed=seed,
                    channels_last=what.compute.channels_last,
                    advance=meter.advance,
                    attacked=album.add if album is not None else None,
                )
            meter.note("  ".join(f"{row.attack} {row.accuracy:.1%}" for row in rows))
        if album is not None:
            machine.progress.say(album.write())
        flops = forward_flops(folded, dataset.spec.shape)
        for row in rows:
            ledger.count("attack", row.passes, flops)
    table = _table(rows, file.stem, split, what, seed)
    folder = _folder(file, checkpoint, dataset.fingerprint, elsewhere)
    target = folder / "robustness.csv"
    known = rows_of(target)
    merged = pd.concat([known, table]).drop_duplicates(_KEY, keep="last") if len(known) else table
    runs.write_text(target, merged.to_csv(index=False))
    runs.write_json(folder / f"evaluate-{file.stem}.ledger.json", ledger.report())
    return target, table


def _folder(file: Path, checkpoint: Checkpoint, images: str, elsewhere: Path | None) -> Path:
    """Where the rows go: beside a checkpoint of a run, but for figures on other images than the run's."""
    # runs/<recipe>-<hex>/seed-<n>/<arm>/<file>
    inside = (file.parent.parent.parent / "recipe.toml").is_file()
    if elsewhere is None or (inside and images == checkpoint.data):
        return file.parent
    told = json.dumps([images, asdict(checkpoint.model)])
    digest = hashlib.sha256(file.read_bytes() + told.encode()).hexdigest()[:8]
    return elsewhere / f"evaluate-{digest}"


def rows_of(file: Path) -> pd.DataFrame:
    """The rows of a robustness.csv; none where there is no file. Raises InputError for a damaged one."""
    if not file.is_file():
        return pd.DataFrame(columns=_COLUMNS)
    try:
        rows = pd.read_csv(file, dtype={"eps": str})
        if list(rows.columns) == _COLUMNS[:-1]:
            rows["norm"] = "Linf"  # written before there was another
        if list(rows.columns) != _COLUMNS:
            raise ValueError(f"columns {list(rows.columns)}")
    except (ValueError, OSError) as error:
        raise InputError(f"cannot read {file} ({error}): remove it and evaluate again") from None
    return rows


def pretty(rows: pd.DataFrame) -> str:
    """The rows for people: accuracy in percent."""
    shown = rows.assign(
        accuracy=[f"{100 * a:.2f} %" for a in rows.accuracy], passes=rows.forwards + rows.backwards
    )
    return str(shown[["attack", "norm", "eps", "n", "accuracy", "seconds", "passes"]].to_string(index=False))


_COLUMNS = [
    "checkpoint",
    "split",
    "attack",
    "eps",
    "n",
    "accuracy",
    "seconds",
    "forwards",
    "backwards",
    "rel_step",
    "seed",
    "norm",
]


def _table(rows: list[Row], name: str, split: str, what: Recipe, seed: int) -> pd.DataFrame:
    if len(rows) > 1:
        rows = [*rows, evaluation.worst_case(rows)]
    values = [
        [
            name,
            split,
            row.attack,
            str(what.threat.eps),
            len(row.standing),
            row.accuracy,
            round(row.seconds, 3),
            row.forwards,
            row.backwards,
            what.evaluate.rel_step,
            seed,
            what.threat.norm,
        ]
        for row in rows
    ]
    return pd.DataFrame(values, columns=_COLUMNS)
