"""What can be asked for: the verbs of the command line and their flags, which are also their help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from robust_tickets.cli.file_commands import FILE_VERBS, FileVerb
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import DataName
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.schema import Count, CountOrZero, NotNegative, Range

Seed = Annotated[int, Range(least=0, most=2**31 - 1)]

REGISTRY = tyro.constructors.ConstructorRegistry()


@REGISTRY.primitive_rule
def _eps(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Eps] | None:
    if info.type is not Eps:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="EPS",
        instance_from_str=lambda words: Eps(words[0]),
        is_instance=lambda value: isinstance(value, Eps),
        str_from_instance=lambda eps: [str(eps)],
    )


@dataclass(frozen=True, kw_only=True)
class Resumable:
    """What every verb takes that goes on after a stop."""

    checkpoint_minutes: NotNegative = 1.0
    """how often the state of things is kept on disk, so that after a stop the same command goes on from
    there; 0: never"""
    checkpoint_steps: CountOrZero = 0
    """the same, in steps: an optimiser's, or an attack's; 0: never"""


@dataclass(frozen=True, kw_only=True)
class Running(Resumable):
    """What every verb takes that runs something by a recipe."""

    recipe: Annotated[str, arg(metavar="NAME|FILE")]
    """a shipped recipe (see `robust-tickets recipes`) or a TOML file; flags below override its fields"""
    runs: Path = Path("runs")
    """folder of the run directories"""
    seed: Seed = 0
    """seed of init, batches and attacks (compare, study: the first one)"""
    device: str = "cpu"
    """torch device: cpu, cuda or cuda:N"""
    fields: Annotated[Recipe, arg(name="")] = field(default_factory=Recipe)


@dataclass(frozen=True, kw_only=True)
class Search(Running):
    """Find a boosting ticket: adversarial training, pruning and rewinding. Writes ticket.safetensors."""


@dataclass(frozen=True, kw_only=True)
class Train(Running):
    """Train adversarially, dense or from a ticket. Writes best.safetensors and last.safetensors."""

    ticket: Annotated[Path | None, arg(metavar="FILE")] = None
    """a ticket.safetensors to start from, trained for train.ticket_epochs; without it: dense, train.epochs"""


@dataclass(frozen=True, kw_only=True)
class Compare(Running):
    """Run all arms of a recipe and compare them. Writes timing and boosting (csv, md), and curves.svg."""

    seeds: Count = 1
    """how many seeds, from --seed on"""
    jobs: Annotated[int, Range(least=1, most=1024)] = 1
    """how many arms are under way beside each other, each in a process of its own with compute.threads
    threads; the same results, but seconds that the table flags"""
    dry_run: bool = False
    """list arms, passes, FLOPs and the estimated time instead"""


STUDIES = (
    "lr",
    "ratio",
    "width",
    "mask-source",
    "search-length",
    "rounds",
    "controls",
    "schedule",
    "transfer",
)
"""The studies by name."""


@dataclass(frozen=True, kw_only=True)
class Study(Running):
    """Answer a question by a grid of comparisons. Writes <name>.csv, <name>.svg and <name>.md, the verdict.

    lr, ratio, width, mask-source, search-length, rounds: what of the search makes a ticket fast; controls:
    the ticket beside all that it could be mistaken for; schedule: ticket and dense on the same short
    schedules and at equal cost; transfer: tickets found by another recipe. Finished cells are not run again.
    """

    name: Positional[Annotated[str, arg(metavar="NAME")]] = ""
    """lr, ratio, width, mask-source, search-length, rounds, controls, schedule or transfer; its grid is
    --study.NAME"""
    seeds: Count = 3
    """how many seeds, from --seed on; an interval takes 2, a verdict 3"""
    jobs: Annotated[int, Range(least=1, most=1024)] = 1
    """how many arms are under way beside each other, each in a process of its own with compute.threads
    threads; the same results, but seconds that the table flags"""
    dry_run: bool = False
    """list arms, passes, FLOPs and the estimated time instead; what settings share is counted once"""


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """Where the images are; the set itself is the one the checkpoint was trained on."""

    name: DataName | None = None
    """data set; None: as recorded in the checkpoint"""
    root: Path | None = None
    """folder, image tree or tar archive of the data set"""
    download: bool = False
    """let torchvision download it into the root"""
    resize: CountOrZero = 0
    """folder: scale and crop every image to a square of this side; 0: as recorded, or as they are"""


@dataclass(frozen=True, kw_only=True)
class EvaluationModel:
    """The net, where the file cannot say or must not."""

    name: Annotated[str | None, arg(metavar="NET|MODULE:FUNCTION")] = None
    """published weights (a state dict): the net that they are of; checkpoints of a net of your own: the
    function that makes it, as a file's own word is not trusted with code"""
    width: Annotated[float, Range(above=0, most=64)] = 1.0
    """published weights: factor on the net's hidden widths"""
    normalise: Annotated[str | None, arg(metavar="none|DATA|MEAN,STD", aliases=["--normalise"])] = None
    """published weights: what the net was trained on: none for images in [0, 1], or images from which the
    mean was taken and that were divided by the std, a data set's or numbers; None: none, or as the file
    says"""


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """The net of --from, where its file cannot say or must not; None: as --model says."""

    name: Annotated[str | None, arg(metavar="NET|MODULE:FUNCTION")] = None
    """as --model.name"""
    width: Annotated[float | None, Range(above=0, most=64)] = None
    """as --model.width"""
    normalise: Annotated[str | None, arg(metavar="none|DATA|MEAN,STD")] = None
    """as --model.normalise"""


@dataclass(frozen=True, kw_only=True)
class EvaluationThreat:
    """What the adversary may do; by default as recorded in the checkpoint (published weights: Linf 8/255)."""

    eps: Annotated[tuple[str, ...] | None, arg(metavar="EPS...", aliases=["--eps"])] = None
    """radius of the ball, for pixels in [0, 1]; step sizes move along; several (2/255 4/255 8/255) give a
    curve, robustness-<checkpoint>-<hex>.svg"""
    norm: Literal["Linf", "L2"] | None = None
    """norm of the ball"""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Resumable):
    """Measure a checkpoint's clean and robust accuracy. Prints a table and writes robustness.csv.

    Sanity checks say whether the figures can be trusted. An evaluation that was stopped goes on where it was.
    """

    checkpoint: Positional[Path]
    """a best.safetensors or last.safetensors; or published weights (.pt, .safetensors), with --model.name and
    --data.name"""
    attacks: Annotated[tuple[str, ...], arg(metavar="ATTACK...")] = ("quick",)
    """attacks, and sets of them: quick (clean fgsm pgd-20), standard (quick and restarts, the margin loss,
    APGD), autoattack (apgd, apgd-t, fab-t and square, each on what still stands); pgd-N has N steps from a
    random start; settings go in brackets, as "pgd(steps=20, restarts=5, loss='margin')" or "square(queries=
    1000)"; "torchattacks:CW(c=1, steps=50)" is one of torchattacks'"""
    split: Literal["train", "val", "test"] = "test"
    """which images"""
    limit: CountOrZero = 0
    """how many images, balanced over the classes, always the same ones; 0: all"""
    source: Annotated[Path | None, arg(name="from", metavar="CHECKPOINT")] = None
    """another checkpoint: the attacks are run on its net, and this one is judged on their images"""
    seed: Seed = 0
    """seed of the attacks' random numbers"""
    device: str = "cpu"
    """torch device: cpu, cuda or cuda:N"""
    runs: Path = Path("runs")
    """where robustness.csv goes if the checkpoint lies in no run directory; else it goes beside it"""
    save_images: Annotated[Path | None, arg(metavar="DIR")] = None
    """folder for the attacked images: exact ones in <attack>.npz, pictures in <attack>/*.png; of several eps,
    in a folder for each"""
    data: EvaluationData = EvaluationData()
    threat: EvaluationThreat = EvaluationThreat()
    model: EvaluationModel = EvaluationModel()
    from_model: SourceModel = SourceModel()


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the shipped recipes."""


Verb = Search | Train | Evaluate | Compare | Study | Recipes | FileVerb
VERBS: dict[str, type[Verb]] = {
    "search": Search,
    "train": Train,
    "evaluate": Evaluate,
    "compare": Compare,
    "study": Study,
    "recipes": Recipes,
    **FILE_VERBS,
}
"""The verbs by the words they are called by."""
