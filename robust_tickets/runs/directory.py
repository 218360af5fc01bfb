"""Run directories: the paths of all files of a run, and checks before more files are written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import describe_machine
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.files import read_object, write_json, write_text

_RECIPE = "recipe.toml"
_FIX = "remove that file and run compare again"
_OTHERS = "others"  # key of the further machines of a run, in the first one's record


class _File:
    """An attribute that is the path of a file, by its name in the directory's folder."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, directory: "ArmDirectory | FrontierFolder | RunDirectory", owner: type) -> Path:
        return directory.path / self.name


@dataclass(frozen=True)
class ArmDirectory:
    """The folder of one arm, one search or one search round.

    An evaluation of a checkpoint outside of any run leaves its files in such a folder too.
    """

    path: Path

    ledger = _File("ledger.json")
    """Seconds, passes and FLOPs; written last, so that it tells a finished folder from others."""
    metrics = _File("metrics.jsonl")
    """One record an epoch."""
    length = _File("length.json")
    """The steps of an arm whose length follows from a timing; they are fixed before the first one."""
    early_metrics = _File("early.jsonl")
    """One record a validation within the first epochs."""
    ticket = _File("ticket.safetensors")
    """The ticket of a search."""
    record = _File("arm.json")
    """The facts of an arm that tables show besides cost and accuracy."""
    best = _File("best.safetensors")
    """The checkpoint of the best epoch."""
    last = _File("last.safetensors")
    """The checkpoint of the last epoch."""
    average = _File("average.safetensors")
    """The checkpoint of the weights' moving average after the last epoch, where the training has one."""
    robustness = _File("robustness.csv")
    """One row an attack."""
    states = _File("state")
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
        return (self.run_path / _RECIPE).is_file()

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

    plot = _File("frontier.svg")
    """Robust accuracy over cost."""
    markdown = _File("frontier.md")
    """The table and the answers for people."""
    csv = _File("frontier.csv")
    """The table for programs."""


@dataclass(frozen=True)
class RunDirectory:
    """`<runs>/<recipe name>-<8 hex>/`: recipe, machine, inputs, report, `seed-<n>/<arm>/`."""

    path: Path
    recipe: Recipe

    recipe_file = _File(_RECIPE)
    """The resolved recipe."""
    machine_file = _File("env.json")
    """The machine that the run began on."""
    inputs_file = _File("inputs.json")
    """Fingerprints of images and of the user's own networks."""
    timing_csv = _File("timing.csv")
    """The timing table for programs."""
    timing_markdown = _File("timing.md")
    """The timing table for people."""
    boosting_csv = _File("boosting.csv")
    """The early advantage of each arm, for programs."""
    boosting_markdown = _File("boosting.md")
    """The early advantage of each arm, for people."""
    curves = _File("curves.svg")
    """The plot of validation accuracy over cost."""

    @classmethod
    def of(cls, runs: Path, recipe: Recipe) -> "RunDirectory":
        """The directory of this recipe in the folder `runs`; nothing is written yet."""
        return cls(runs / f"{recipe.name}-{recipe.identity}", recipe)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open an existing run directory and read its recipe. Raises InputError where there is none."""
        file = path / _RECIPE
        if not file.is_file():
            raise InputError(
                f"{path} is no run directory, since it has no {_RECIPE}: give a folder that search, train or "
                "compare wrote"
            )
        return cls(path, recipes.load_recorded(file))

    @staticmethod
    def paths(runs: Path) -> list[Path]:
        """The folders in `runs` that have a recipe, in order."""
        return [file.parent for file in sorted(runs.glob(f"*/{_RECIPE}"))]

    def arm(self, seed: int, arm: str) -> ArmDirectory:
        """The folder of one arm of one seed."""
        return ArmDirectory(self.path / f"seed-{seed}" / arm)

    def search(self, seed: int) -> ArmDirectory:
        """The folder of the search of one seed."""
        return self.arm(seed, "search")

    def seeds(self) -> list[int]:
        """Seeds that have a folder, in order."""
        names = (p.name.removeprefix("seed-") for p in self.path.glob("seed-*") if p.is_dir())
        return sorted(int(n) for n in names if n.isascii() and n.isdigit())

    def siblings(self) -> "Iterator[RunDirectory]":
        """The other run directories in the same folder, without those that cannot be read."""
        for path in self.paths(self.path.parent):
            if path == self.path:
                continue
            try:
                yield RunDirectory.open(path)
            except InputError:
                continue

    def sibling_arms(self, folder: ArmDirectory) -> list[ArmDirectory]:
        """The finished folders of the same arm and seed in the other run directories of the same folder."""
        name = folder.record.relative_to(self.path)
        records = sorted(self.path.parent.glob(f"*/{name}"))
        arms = [ArmDirectory(record.parent) for record in records]
        return [other for other in arms if other.is_finished and other.run_path != self.path]

    def begin(self, device: str, inputs: Mapping[str, str], *, any_machine: bool = False) -> None:
        """Write recipe, machine and inputs, unless they are there; new inputs are added.

        any_machine: another machine than those of the run so far is added to them.

        Raises InputError where another recipe is there.
        """
        self.write_recipe()
        if not self.machine_file.exists():
            write_json(self.machine_file, describe_machine(device, self.recipe.compute.threads))
        elif any_machine:
            self._add_machine(device)
        recorded = self._inputs()
        if not inputs.items() <= recorded.items():
            write_json(self.inputs_file, {**inputs, **recorded})

    def _add_machine(self, device: str) -> None:
        """Record that the run goes on on this machine, unless it is one of the run's machines."""
        first, *others = self.machines()
        current = describe_machine(device, self.recipe.compute.threads)
        if all(machine_differences(machine, current) for machine in (first, *others)):
            write_json(self.machine_file, {**first, _OTHERS: [*others, current]})

    def machines(self) -> list[dict[str, Any]]:
        """The machines that the run was computed on, the first one first; empty before it has begun."""
        if not self.machine_file.exists():
            return []
        first = read_object(self.machine_file, _FIX)
        others = first.pop(_OTHERS, [])
        if not isinstance(others, list) or not all(isinstance(other, dict) for other in others):
            raise InputError(f"{self.machine_file} has no list of machines as {_OTHERS!r}: {_FIX}")
        return [first, *others]

    def write_recipe(self) -> None:
        """Write the recipe, unless it is there. Raises InputError where another one is."""
        text, file = recipes.to_toml(self.recipe), self.recipe_file
        if not file.exists():
            write_text(file, text)
            return
        try:
            same = recipes.load_recorded(file).identity == self.recipe.identity
        except InputError:  # damaged, or of another format
            same = False
        if not same:
            raise InputError(
                f"{file} is not the recipe that its folder is named by, so somebody has changed it: remove "
                "that file and give the same command again, which writes it anew"
            )

    def check_machine(self, device: str, *, any_machine: bool = False) -> None:
        """Raise InputError if the run began on another machine: their seconds cannot be compared.

        any_machine: another processor or GPU is accepted, but no other version of PyTorch.
        """
        machines = self.machines()
        current = describe_machine(device, self.recipe.compute.threads)
        differences = [machine_differences(machine, current) for machine in machines]
        if not machines or not all(differences):
            return
        key, fix = differences[0][0], "choose another folder by --runs"
        if any("torch" not in keys for keys in differences):
            if any_machine:
                return
            fix += ", or continue with --any-machine, which marks the seconds"
        raise InputError(
            f"{self.path} began on a machine with {key} {machines[0][key]}, this one has {current[key]}, and "
            f"seconds of two machines cannot be compared: {fix}"
        )

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Raise InputError if the run began with other images, or another network of the user's own.

        inputs: a fingerprint for each; those that the run has not recorded yet are accepted. The networks of
        two seeds must differ.
        """
        recorded = self._inputs()
        for name, digest in inputs.items():
            if recorded.get(name, digest) != digest:
                raise InputError(
                    f"{self.path} began with other {name} ({recorded[name]}, not {digest}): give the same "
                    "ones (--data.root, --model.name), or choose another folder by --runs"
                )
            twin = next((key for key, value in recorded.items() if value == digest and key != name), None)
            if twin is not None:
                raise InputError(
                    f"the {name} is bit for bit the {twin}, and several seeds need several inits: let the "
                    "function draw its weights from PyTorch's generator, or give model.init glorot-normal"
                )

    def _inputs(self) -> dict[str, str]:
        return read_object(self.inputs_file, _FIX) if self.inputs_file.exists() else {}


def machine_differences(machine: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The keys in which two machines differ, so that their results and seconds do.

    Of a GPU, the processor that feeds it is not one.
    """
    of_device = ("cpu", "vectors") if current["device"] == "cpu" else ("cudnn", "tf32")
    keys = ("device", *of_device, "gpu", "torch")
    return [key for key in keys if key in machine and machine[key] != current.get(key)]
