"""Run directories: where a stage's artefacts lie, and how they get there whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import describe_machine
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.runs.files import read_object, write_json, write_text


@dataclass(frozen=True)
class RunDirectory:
    """`<runs>/<recipe name>-<8 hex>/`: the recipe, the machine, and `seed-<n>/<arm>/` for each arm."""

    path: Path
    recipe: Recipe

    @classmethod
    def of(cls, runs: Path, recipe: Recipe) -> "RunDirectory":
        """The directory of this recipe under `runs`; nothing is written yet."""
        return cls(runs / f"{recipe.name}-{recipe.identity}", recipe)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """An existing run directory, its recipe read back. Raises InputError where there is none."""
        file = path / "recipe.toml"
        if not file.is_file():
            raise InputError(
                f"{path} is no run directory: it has no recipe.toml (one is made by search, train or compare)"
            )
        return cls(path, recipes.load(str(file)))

    def arm(self, seed: int, arm: str) -> Path:
        """Folder of one arm (or of the search) of one seed."""
        return self.path / f"seed-{seed}" / arm

    def seeds(self) -> list[int]:
        """Seeds that have a folder, in order."""
        names = (p.name.removeprefix("seed-") for p in self.path.glob("seed-*") if p.is_dir())
        return sorted(int(n) for n in names if n.isascii() and n.isdigit())

    def check(self, device: str) -> None:
        """Raise InputError if the run was begun on another machine: their seconds cannot be compared."""
        file = self.path / "env.json"
        if not file.exists():
            return
        begun, now = (
            read_object(file, "remove that file"),
            describe_machine(device, self.recipe.compute.threads),
        )
        for key in ("device", "cpu", "vectors", "gpu", "torch"):
            if key in begun and begun[key] != now[key]:
                raise InputError(
                    f"{self.path} was begun with {key} {begun[key]}, this is {now[key]}; their seconds "
                    "cannot stand in one table: choose another folder by --runs"
                )

    def check_inputs(self, inputs: Mapping[str, str]) -> None:
        """Raise InputError if the run was begun with others: images, or a net of the user's own.

        `inputs` has a fingerprint for each; what was not there before is right.
        """
        begun = self._inputs()
        for name, found in inputs.items():
            if begun.get(name, found) != found:
                raise InputError(
                    f"{self.path} was begun with other {name} than this ({begun[name]}, not {found}): give "
                    "the same ones (--data.root, --model.name), or choose another folder by --runs"
                )
            twin = next((other for other, print_ in begun.items() if print_ == found and other != name), None)
            if twin is not None:
                raise InputError(
                    f"the {name} is bit for bit the {twin}, and several seeds need several inits: let the "
                    "function draw its weights from PyTorch's generator, or give model.init glorot-normal"
                )

    def begin(self, device: str, inputs: Mapping[str, str]) -> None:
        """Write what describes the run: recipe, machine, inputs. An existing description stays."""
        if not (self.path / "recipe.toml").exists():
            write_text(self.path / "recipe.toml", recipes.to_toml(self.recipe))
        if not (self.path / "env.json").exists():
            write_json(self.path / "env.json", describe_machine(device, self.recipe.compute.threads))
        begun = self._inputs()
        if not inputs.items() <= begun.items():
            write_json(self.path / "inputs.json", {**inputs, **begun})

    def _inputs(self) -> dict[str, str]:
        file = self.path / "inputs.json"
        return read_object(file, "remove that file") if file.exists() else {}
