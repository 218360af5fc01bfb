"""Reads the candidates of a frontier from run directories that can be compared."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation.attack_sets import AA_PAIR, AA_WHOLE
from robust_tickets.models.title import network_title
from robust_tickets.recipe.fields import CHECKPOINTS, CheckpointName
from robust_tickets.report.candidates import Candidate, Frontier
from robust_tickets.report.chance import chance_accuracy
from robust_tickets.report.conditions import conditions
from robust_tickets.report.judge import Judge, judge, judged_images
from robust_tickets.report.read import ArmResult, left_out_note, results
from robust_tickets.runs.directory import RunDirectory, machine_differences
from robust_tickets.runs.files import read_object

DEFAULT_WEIGHTS: tuple[CheckpointName, ...] = ("last", "average")
"""The checkpoints that stand for an arm, each on its own: the better one is not chosen by test images."""

OTHER_MACHINE = "on another machine than those of the first run, or with other threads"
BUSY = "on a busy machine, or on one that had become slower"
"""Why seconds cannot be compared, after "they were taken"."""


@dataclass(frozen=True)
class _Run:
    """A run directory with its results and its judge."""

    directory: RunDirectory
    arms: Mapping[str, Sequence[ArmResult]]
    judge: Judge

    @property
    def seeds(self) -> list[int]:
        return [result.seed for result in next(iter(self.arms.values()))]

    @property
    def images(self) -> int:
        """The number of test images under the judge's attack."""
        return judged_images(self.arms, self.judge, self.directory.recipe)

    @property
    def data(self) -> str:
        return str(self._about["data"])

    @property
    def network(self) -> str:
        model = self.directory.recipe.model
        return network_title(model.name, model.width)

    @property
    def threat(self) -> str:
        threat = self.directory.recipe.threat
        return f"{threat.norm} {threat.eps}"

    @property
    def yardstick(self) -> dict[str, str]:
        """What runs must share, by a name for each."""
        inputs = self.directory.inputs_file
        own_net = read_object(inputs).get("net", "") if inputs.exists() else ""
        step = self.directory.recipe.evaluate.rel_step
        return {
            "data": f"{self.data}, fingerprint {self._about['fingerprint']}",
            "networks": f"{self.network} {own_net}".strip(),
            "threat models": self.threat,
            "attacks to judge them": self.judge.title,
            "numbers of test images": f"{self.images:,}",
            "step sizes of PGD-20": f"{step:g} of eps",
        }

    @property
    def _about(self) -> Mapping[str, Any]:
        return next(iter(self.arms.values()))[0].about


def read_frontier(
    directories: Sequence[RunDirectory], weights: Sequence[CheckpointName] = DEFAULT_WEIGHTS
) -> Frontier:
    """Read the candidates of one or several runs, over the seeds that are complete in all of them.

    weights: the checkpoints that stand for an arm, each as a candidate of its own; one that an arm lacks is
        left out.
    Raises InputError for runs that differ in data, network, threat model, judge or test images, that share no
    complete seed, or in which no arm has such weights.
    """
    runs = [_read(directory) for directory in directories]
    if {run.judge.attack for run in runs} == {AA_PAIR, AA_WHOLE}:  # where all have the whole, they have both
        runs = [replace(run, judge=replace(run.judge, attack=AA_PAIR)) for run in runs]
    _check_yardstick(runs)
    seeds = [n for n in runs[0].seeds if all(n in run.seeds for run in runs)]
    if not seeds:
        raise InputError(f"{_paths(runs)} share no complete seed: run compare for the same seeds in each")
    candidates: dict[Candidate, str] = {}  # with the run that each comes from
    results_seen = set()
    for run in runs:
        for candidate in _candidates(run, runs[0], seeds, weights):
            result = (candidate.arm, candidate.weights, candidate.flops, candidate.robust, candidate.clean)
            if result not in results_seen:  # else one run has copied the arm from the other
                results_seen.add(result)
                candidates[candidate] = _label(run, runs)
    _check_weights(runs, weights, {candidate.weights for candidate in candidates})
    title = f"{runs[0].data}, {runs[0].network}, {runs[0].threat}, "
    title += f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    named = _with_names(candidates, runs[0].judge)
    notes = [*(_left_out(run, seeds) for run in runs), _training_images_note(runs)]
    remarks = " ".join(filter(None, notes))
    chance = max(chance_accuracy(run.arms, run.images) for run in runs)
    return Frontier(named, tuple(seeds), runs[0].judge, runs[0].images, title, remarks, chance)


def _left_out(run: _Run, seeds: Sequence[int]) -> str:
    """Which seeds of a run are left out, and why; seeds: those that are complete in all runs."""
    others = [str(seed) for seed in run.seeds if seed not in seeds]
    note = left_out_note(run.directory)
    if not others:
        return note
    many = len(others) > 1
    which = f"seeds {', '.join(others)} are" if many else f"seed {others[0]} is"
    what = "them" if many else "it"
    return f"{note} Of {run.directory.path}, {which} left out, as not all runs have {what}.".strip()


def _training_images_note(runs: Sequence[_Run]) -> str:
    """On how many images each run trained, where they differ; else empty."""
    numbers = {run.directory.path: run.directory.recipe.data.train_images for run in runs}
    if len(set(numbers.values())) == 1:
        return ""
    texts = [f"{_label(run, runs)} on {numbers[run.directory.path] or 'all':,}" for run in runs]
    return f"They trained on different numbers of images: {', '.join(texts)}."


def _check_weights(runs: Sequence[_Run], asked: Sequence[CheckpointName], found: Collection[str]) -> None:
    """Raise InputError where weights were asked for that no arm has under the judge's attack."""
    judge = runs[0].judge
    lacking = [name for name in asked if name not in found]
    if not lacking or (found and asked == DEFAULT_WEIGHTS):
        return
    all_results = [result for run in runs for arm in run.arms.values() for result in arm]
    there = [n for n in CHECKPOINTS if any((n, judge.attack) in each.accuracy for each in all_results)]
    more = ""
    if judge.attack in (AA_PAIR, AA_WHOLE):
        more = ", or have them judged by compare --evaluate.aa-checkpoints"
    raise InputError(
        f"no arm of {_paths(runs)} was evaluated under {judge.title} with weights {' or '.join(lacking)}: "
        f"choose {' or '.join(there)} by --weights{more}"
    )


def _read(directory: RunDirectory) -> _Run:
    arms = results(directory)
    return _Run(directory, arms, judge(arms, directory.recipe))


def _check_yardstick(runs: Sequence[_Run]) -> None:
    """Raise InputError for the first run that differs from the first one in what they must share."""
    first = runs[0].yardstick
    for run in runs[1:]:
        for name, value in run.yardstick.items():
            if value != first[name]:
                raise InputError(
                    f"{_paths([runs[0], run])} have different {name} ({first[name]}; {value}) and cannot "
                    "share a frontier: give one of them, or run compare with the same"
                )


def _candidates(
    run: _Run, first: _Run, seeds: Sequence[int], weights: Sequence[CheckpointName]
) -> list[Candidate]:
    """The candidates of a run, each named by its arm."""
    same_machine = _same_machine(first.directory, run.directory)
    machines, found = len(run.directory.machines()), conditions(run.arms)
    candidates = []
    for arm, all_seeds in run.arms.items():
        of_seeds = [result for result in all_seeds if result.seed in seeds]
        reason = "" if same_machine else OTHER_MACHINE
        if found[arm].disturbed:
            reason = BUSY
        for checkpoint in weights:
            if all((checkpoint, run.judge.attack) in result.accuracy for result in of_seeds):
                candidates.append(
                    Candidate(
                        arm,
                        arm,
                        checkpoint,
                        flops=tuple(result.charged("flops") for result in of_seeds),
                        seconds=tuple(result.charged("seconds") for result in of_seeds if not reason),
                        robust=tuple(run.judge.accuracy(result, checkpoint) for result in of_seeds),
                        clean=tuple(result.accuracy[checkpoint, "clean"] for result in of_seeds),
                        jobs=max(result.jobs for result in of_seeds),
                        machines=machines,
                        no_seconds=reason,
                    )
                )
    return candidates


def _same_machine(first: RunDirectory, other: RunDirectory) -> bool:
    """Whether seconds of two runs can be compared: one machine, with as many threads."""
    if first.path == other.path:
        return True
    machines = [*first.machines(), *other.machines()]
    return (
        bool(first.machines() and other.machines())
        and not any(machine_differences(machines[0], machine) for machine in machines)
        and len({machine.get("threads") for machine in machines}) == 1
    )


def _with_names(candidates: Mapping[Candidate, str], judge: Judge) -> tuple[Candidate, ...]:
    """Name the candidates: with the weights where they are not the judge's, and with the run where needed."""
    known = Counter((candidate.arm, candidate.weights) for candidate in candidates)
    named = []
    for candidate, run in candidates.items():
        words: list[str] = [candidate.weights] if candidate.weights != judge.checkpoint else []
        words += [run] if known[candidate.arm, candidate.weights] > 1 else []
        named.append(
            replace(candidate, name=f"{candidate.arm} ({', '.join(words)})" if words else candidate.arm)
        )
    return tuple(named)


def _label(run: _Run, runs: Sequence[_Run]) -> str:
    """The name of a run's folder; the whole path where another run's folder has that name too."""
    path = run.directory.path
    others = [other.directory.path.resolve() for other in runs if other.directory.path != path]
    name = path.resolve().name
    return str(path) if name in [other.name for other in others] else name


def _paths(runs: Sequence[_Run]) -> str:
    return " and ".join(str(run.directory.path) for run in runs)
