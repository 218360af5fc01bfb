"""Run directories: their files and folders, and checks before more files are written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import describe_machine
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.arm_directory import RECIPE, ArmDirectory, FileName
from robust_tickets.runs.files import read_object, write_json, write_text

MACHINE, INPUTS = "env.json", "inputs.json"
"""Files of a run directory to which each machine and each process may add."""

_FIX = "remove that file and run compare again"
_OTHERS = "others"  # key of the further machines of a run, in the first one's record


@dataclass(frozen=True)
class RunDirectory:
    """`<runs>/<recipe name>-<8 hex>/`: recipe, machine, inputs, report, `seed-<n>/<arm>/`."""

    path: Path
    recipe: Recipe

    recipe_file = FileName(RECIPE)
    """The resolved recipe."""
    machine_file = FileName(MACHINE)
    """The machine that the run began on."""
    inputs_file = FileName(INPUTS)
    """Fingerprints of images and of the user's own networks."""
    timing_csv = FileName("timing.csv")
    """The timing table for programs."""
    timing_markdown = FileName("timing.md")
    """The timing table for people."""
    boosting_csv = FileName("boosting.csv")
    """The early advantage of each arm, for programs."""
    boosting_markdown = FileName("boosting.md")
    """The early advantage of each arm, for people."""
    contrasts_csv = FileName("contrasts.csv")
    """The contrasts that the recipe names, for programs."""
    curves = FileName("curves.svg")
    """The plot of validation accuracy over cost."""
    page = FileName("report.html")
    """The report as one page."""

    @classmethod
    def of(cls, runs: Path, recipe: Recipe) -> "RunDirectory":
        """The directory of this recipe in the folder `runs`; nothing is written yet."""
        return cls(runs / f"{recipe.name}-{recipe.identity}", recipe)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open an existing run directory and read its recipe. Raises InputError where there is none."""
        file = path / RECIPE
        if not file.is_file():
            raise InputError(
                f"{path} is no run directory, since it has no {RECIPE}: give a folder that search, train or "
                "compare wrote"
            )
        return cls(path, recipes.load_recorded(file))

    @staticmethod
    def paths(runs: Path) -> list[Path]:
        """The folders in `runs` that have a recipe, in order."""
        return [file.parent for file in sorted(runs.glob(f"*/{RECIPE}"))]

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

    def begin(
        self, device: str, inputs: Mapping[str, str], *, any_machine: bool = False, devices: int = 1
    ) -> None:
        """Write recipe, machine and inputs, unless they are there; new inputs are added.

        device, devices: torch device, and how many like it share each training.
        any_machine: another machine than those of the run so far is added to them.

        Raises InputError where another recipe is there.
        """
        self.write_recipe()
        if not self.machine_file.exists():
            write_json(self.machine_file, describe_machine(device, self.recipe.compute.threads, devices))
        elif any_machine:
            self._add_machine(device, devices)
        recorded = self.inputs()
        if not inputs.items() <= recorded.items():
            write_json(self.inputs_file, {**inputs, **recorded})

    def _add_machine(self, device: str, devices: int) -> None:
        """Record that the run goes on on this machine, unless it is one of the run's machines."""
        self._add(describe_machine(device, self.recipe.compute.threads, devices))

    def _add(self, current: dict[str, Any]) -> None:
        first, *others = self.machines()
        if all(machine_differences(machine, current) for machine in (first, *others)):
            write_json(self.machine_file, {**first, _OTHERS: [*others, current]})

    def take_over(self, other: "RunDirectory") -> None:
        """Record the machines and inputs of another run of the same recipe as this run's too."""
        for machine in other.machines():
            self._add(machine)
        write_json(self.inputs_file, {**other.inputs(), **self.inputs()})

    def check_version(self, other: "RunDirectory") -> None:
        """Raise InputError if another run was computed by another version of PyTorch."""
        versions = {machine.get("torch") for run in (self, other) for machine in run.machines()}
        if len(versions) > 1:
            raise InputError(
                f"{other.path} was computed with another version of PyTorch than {self.path} "
                f"({' and '.join(sorted(map(str, versions)))}): run it again with one of them"
            )

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

    def check_machine(self, device: str, *, any_machine: bool = False, devices: int = 1) -> None:
        """Raise InputError if the run began on another machine: their seconds cannot be compared.

        any_machine: another processor or GPU is accepted, or another number of devices, but no other version
            of PyTorch.
        devices: how many share each training.
        """
        machines = self.machines()
        current = describe_machine(device, self.recipe.compute.threads, devices)
        differences = [machine_differences(machine, current) for machine in machines]
        if not machines or not all(differences):
            return
        key, fix = differences[0][0], "choose another folder by --runs"
        if any("torch" not in keys for keys in differences):
            if any_machine:
                return
            fix += ", or continue with --any-machine, which marks the seconds"
        raise InputError(
            f"{self.path} began on a machine with {key} {machines[0].get(key, 1)}, this one has "
            f"{current.get(key, 1)}, and seconds of two machines cannot be compared: {fix}"
        )

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Raise InputError if the run began with other images, or another network of the user's own.

        inputs: a fingerprint for each; those that the run has not recorded yet are accepted. The networks of
        two seeds must differ.
        """
        recorded = self.inputs()
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

    def inputs(self) -> dict[str, str]:
        """The fingerprints that are recorded so far."""
        return read_object(self.inputs_file, _FIX) if self.inputs_file.exists() else {}


def machine_differences(machine: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """The keys in which two machines differ, so that their results and seconds do.

    Of a GPU, the processor that feeds it is not one.
    """
    of_device = ("cpu", "vectors") if current["device"] == "cpu" else ("cudnn", "tf32")
    keys = ("device", *of_device, "gpu", "torch")
    differences = [key for key in keys if key in machine and machine[key] != current.get(key)]
    return differences + ["devices"] * (machine.get("devices", 1) != current.get("devices", 1))
