"""The command `evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from robust_tickets.base import signals
from robust_tickets.cli.command import Command, OnMachine, Seed, command
from robust_tickets.cli.input_file import InputFile
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import DataName
from robust_tickets.recipe.schema import CountOrZero, Range

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """Where the images are; by default of the data set that the checkpoint was trained on."""

    name: DataName | None = None
    """data set; without it: as recorded in the checkpoint"""
    root: Path | None = None
    """folder, image tree or tar archive of the data set"""
    download: bool = False
    """let torchvision download it into the root"""
    resize: CountOrZero = 0
    """folder: scale and crop every image to a square of this side; 0: as recorded, or as they are"""


@dataclass(frozen=True, kw_only=True)
class EvaluationModel:
    """The network, where the file cannot say or must not."""

    name: Annotated[str | None, arg(metavar="NET|MODULE:FUNCTION")] = None
    """published weights (a state dict): the name of their network; checkpoints of your own network: your
    function that builds it, since no code is imported because a file names it"""
    width: Annotated[float, Range(above=0, most=64)] = 1.0
    """published weights: factor on the network's hidden widths"""
    normalise: Annotated[str | None, arg(metavar="none|DATA|MEAN,STD", aliases=["--normalise"])] = None
    """published weights: normalisation that the network was trained with: none for images in [0, 1], a data
    set's, or mean and std; without it: none, or as the file says"""
    weights: Annotated[str | None, arg(metavar="raw|averaged|KEY")] = None
    """published weights: which ones, of a file with several, such as an average over training (SWA, EMA)
    beside the raw ones; without it: the raw ones, if there are any"""


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """The network of --from, where its file cannot say or must not; by default as --model says."""

    name: Annotated[str | None, arg(metavar="NET|MODULE:FUNCTION")] = None
    """as --model.name"""
    width: Annotated[float, Range(above=0, most=64)] | None = None
    """as --model.width"""
    normalise: Annotated[str | None, arg(metavar="none|DATA|MEAN,STD")] = None
    """as --model.normalise"""
    weights: Annotated[str | None, arg(metavar="raw|averaged|KEY")] = None
    """as --model.weights"""


@dataclass(frozen=True, kw_only=True)
class EvaluationThreat:
    """The adversary; by default as recorded in the checkpoint (published weights: Linf 8/255)."""

    eps: Annotated[tuple[str, ...] | None, arg(metavar="EPS...", aliases=["--eps"])] = None
    """radius of the ball, for pixels in [0, 1]; step sizes scale with it; several (2/255 4/255 8/255) give a
    curve, robustness-<checkpoint>-<hex>.svg"""
    norm: Literal["Linf", "L2"] | None = None
    """norm of the ball"""


@command
class Evaluate(OnMachine, Command):
    """Measure a checkpoint's clean and robust accuracy. Prints a table and writes robustness.csv.

    Sanity checks say whether the figures can be trusted.
    """

    checkpoint: Positional[InputFile]
    """a best.safetensors or last.safetensors, or its address; a program of export (.pt2); or published
    weights (.pt, .safetensors), with --model.name and --data.name"""
    attacks: Annotated[tuple[str, ...], arg(metavar="ATTACK...")] = ("quick",)
    """attacks, and sets of them: quick (clean fgsm pgd-20), standard (quick and restarts, the margin loss,
    APGD), autoattack (apgd, apgd-t, fab-t and square, each on what is still robust); pgd-N has N steps from a
    random start; settings go in brackets, as "pgd(steps=20, restarts=5, loss='margin')" or
    "square(queries=1000)"; "torchattacks:CW(c=1, steps=50)" is one of torchattacks'"""
    split: Literal["train", "val", "test"] = "test"
    """which images"""
    limit: CountOrZero = 0
    """how many images, balanced over the classes, always the same ones; 0: all"""
    batch: CountOrZero = 0
    """images that go through the network at a time; 0: as recorded in the checkpoint"""
    threads: CountOrZero = 0
    """threads on the CPU; 0: as recorded in the checkpoint"""
    sanity: Literal["on", "off"] = "on"
    """the sanity checks, which can take longer than quick attacks; those that compare the attacks' own rows
    are always there"""
    source: Annotated[InputFile | None, arg(name="from", metavar="CHECKPOINT")] = None
    """another checkpoint: the attacks run on its network, and this one is evaluated on their images"""
    seed: Seed = 0
    """seed of the attacks' random numbers"""
    runs: Path = Path("runs")
    """where robustness.csv goes if the checkpoint lies in no run directory, as one from an address; else it
    goes beside it"""
    save_images: Annotated[Path | None, arg(metavar="DIR")] = None
    """folder for the adversarial images: exact ones in <attack>.npz, pictures in <attack>/*.png, the first
    with their perturbations in <attack>-strip.svg and .png; of several eps, in a folder for each"""
    data: EvaluationData = EvaluationData()
    threat: EvaluationThreat = EvaluationThreat()
    model: EvaluationModel = EvaluationModel()
    from_model: SourceModel = SourceModel()

    def run(self) -> None:
        """Print the table as soon as it is there, then the sanity checks and the files."""
        with signals.deferred():
            from robust_tickets.stages.evaluate import evaluate_file
            from robust_tickets.stages.evaluation_request import EvaluationRequest
            from robust_tickets.stages.load_checkpoint import (
                ImageSource,
                NetDescription,
                SourceNetDescription,
            )

        data, source = self.data, self.from_model
        request = EvaluationRequest(
            self.attacks,
            self.split,
            self.limit,
            self.seed,
            eps=tuple(Eps(text) for text in self.threat.eps or ()),
            norm=self.threat.norm,
            source=None if self.source is None else self.source.path,
            images=ImageSource(data.name, data.root, data.download, data.resize),
            model=NetDescription(self.model.name, self.model.width, self.model.normalise, self.model.weights),
            source_model=SourceNetDescription(source.name, source.width, source.normalise, source.weights),
            runs=self.runs,
            save_images=self.save_images,
            batch=self.batch,
            sanity=self.sanity == "on",
            threads=self.threads,
        )
        output = evaluate_file(self.checkpoint.path, self.machine, request, on_rows=self._print_rows)
        of = " of this network itself, attacked directly" if self.source is not None else ""
        sanity = output.sanity
        if sanity.checks:
            on = f", on {sanity.samples} of the images" if sanity.samples else ""
            print(f"\nsanity checks{of}{on}:\n{sanity}\n")
        if output.curve is not None:
            print(output.curve)
        print(output.file)

    def _print_rows(self, rows: "pd.DataFrame") -> None:
        from robust_tickets.evaluation import robustness_csv

        if self.source is not None:
            print(f"images made on the network of {self.source}, to the last step, and evaluated here:\n")
        print(robustness_csv.format_rows(rows), flush=True)
