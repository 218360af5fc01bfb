"""The command line: `robust-tickets VERB ...`. It reads `--recipe`, lets flags override its fields, and
prints.

torch is imported by the verbs that need it, so that help and mistakes answer at once.
"""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, TypeVar

import tyro
from tyro.conf import Positional, arg

from robust_tickets import __version__, recipe, schema
from robust_tickets.eps import Eps
from robust_tickets.errors import InputError, unknown
from robust_tickets.recipe import DataName, Recipe
from robust_tickets.schema import Count, CountOrZero, Range

if TYPE_CHECKING:
    from robust_tickets.stages import Machine

T = TypeVar("T")
Seed = Annotated[int, Range(least=0, most=2**31 - 1)]

_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
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
class _Running:
    """What every verb takes that runs something by a recipe."""

    recipe: Annotated[str, arg(metavar="NAME|FILE")]
    """a shipped recipe (see `robust-tickets recipes`) or a TOML file; flags below override its fields"""
    runs: Path = Path("runs")
    """folder of the run directories"""
    seed: Seed = 0
    """seed of init, batches and attacks (compare: the first one)"""
    device: str = "cpu"
    """torch device: cpu, cuda or cuda:N"""
    fields: Annotated[Recipe, arg(name="")] = field(default_factory=Recipe)


@dataclass(frozen=True, kw_only=True)
class Search(_Running):
    """Find a boosting ticket: adversarial training, pruning and rewinding. Writes ticket.safetensors."""


@dataclass(frozen=True, kw_only=True)
class Train(_Running):
    """Train adversarially, dense or from a ticket. Writes best.safetensors and last.safetensors."""

    ticket: Annotated[Path | None, arg(metavar="FILE")] = None
    """a ticket.safetensors to start from, trained for train.ticket_epochs; without it: dense, train.epochs"""


@dataclass(frozen=True, kw_only=True)
class Compare(_Running):
    """Run all arms of a recipe and compare them. Writes timing.csv, timing.md and curves.svg."""

    seeds: Count = 1
    """how many seeds, from --seed on"""
    dry_run: bool = False
    """list arms, passes, FLOPs and the estimated time instead"""


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """Where the images are; the set itself is the one the checkpoint was trained on."""

    name: DataName | None = None
    """data set; None: as recorded in the checkpoint"""
    root: Path | None = None
    """folder, image tree or tar archive of the data set"""
    download: bool = False
    """let torchvision download it into the root"""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure a checkpoint's clean and robust accuracy. Prints a table and writes robustness.csv."""

    checkpoint: Positional[Path]
    """a best.safetensors or last.safetensors"""
    attacks: tuple[str, ...] = ("clean", "fgsm", "pgd-20")
    """attacks: clean, fgsm, or pgd-N for N steps from a random start"""
    split: Literal["train", "val", "test"] = "test"
    """which images"""
    limit: CountOrZero = 0
    """how many images, balanced over the classes, always the same ones; 0: all"""
    seed: Seed = 0
    """seed of the attacks' random starts"""
    device: str = "cpu"
    """torch device: cpu, cuda or cuda:N"""
    runs: Path = Path("runs")
    """where robustness.csv goes if the checkpoint lies in no run directory; else it goes beside it"""
    data: EvaluationData = EvaluationData()


@dataclass(frozen=True, kw_only=True)
class Table:
    """Make the timing table again from a run directory's files."""

    run: Positional[Path]
    """a run directory"""
    format: Literal["csv", "markdown"] = "markdown"
    """csv: fractions and seconds; markdown: percent, and the sentence that the table supports"""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """file to write; None: standard output"""


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the shipped recipes."""


Verb = Search | Train | Evaluate | Compare | Table | Recipes
VERBS: dict[str, type[Verb]] = {
    verb.__name__.lower(): verb for verb in (Search, Train, Evaluate, Compare, Table, Recipes)
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; exits with 2 and one message where what was asked for makes no sense."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return
    if words[0] == "--version":
        print(f"robust-tickets {__version__}")
        return
    try:
        if words[0] not in VERBS:
            raise unknown("command", words[0], VERBS)
        _run(_parse(VERBS[words[0]], words[0], words[1:]))
    except InputError as error:
        _fail(str(error), 2)
    except ValueError as error:
        if not isinstance(error, _attack_error()):  # asked only now, as it imports torch
            raise
        _fail(str(error), 2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}", 2)
    except KeyboardInterrupt:
        _fail("interrupted; what is finished is kept, and the same command goes on from there", 130)


def _parse(verb: type[T], name: str, words: list[str]) -> T:
    """The verb with its flags; where it runs by a recipe, that is read first and gives the defaults."""
    default: T | None = None
    if issubclass(verb, _Running):
        given = _recipe_named(words)
        if given is not None:
            default = verb(recipe=given, fields=recipe.load(given))
        elif not {"-h", "--help"} & set(words):
            raise InputError(f"{name} needs --recipe: one of {', '.join(recipe.shipped())}, or a TOML file")
    prog = f"robust-tickets {name}"
    if default is None:
        parsed = tyro.cli(verb, args=words, prog=prog, registry=_REGISTRY)
    else:
        parsed = tyro.cli(verb, args=words, prog=prog, default=default, registry=_REGISTRY)
    if isinstance(parsed, _Running):
        recipe.check(parsed.fields)  # first, so that its messages name `search.lr` and not `fields.search.lr`
    schema.check(parsed)
    return parsed


def _recipe_named(words: list[str]) -> str | None:
    """The value of --recipe; of several the last, as with any other flag."""
    named = None
    for word, following in itertools.pairwise([*words, ""]):
        if word == "--recipe" and following:
            named = following
        elif word.startswith("--recipe="):
            named = word.removeprefix("--recipe=")
    return named


def _run(verb: Verb) -> None:
    if isinstance(verb, Recipes):
        for name in recipe.shipped():
            print(f"{name:<14} {recipe.load(name).summary}")
        return
    if isinstance(verb, Table):
        _table(verb)
        return
    from robust_tickets import compare, progress, stages
    from robust_tickets.runs import RunDirectory

    machine = stages.Machine(verb.device, progress.for_stderr())
    if isinstance(verb, Evaluate):
        _evaluate(verb, machine)
    elif isinstance(verb, Search):
        print(stages.search(verb.fields, verb.seed, RunDirectory.of(verb.runs, verb.fields), machine))
    elif isinstance(verb, Train):
        print(compare.train_from(verb.fields, verb.seed, verb.runs, machine, verb.ticket))
    elif verb.dry_run:
        from robust_tickets.estimate import estimate

        print(estimate(verb.fields, verb.seeds, machine))
    else:
        run = compare.compare(verb.fields, range(verb.seed, verb.seed + verb.seeds), verb.runs, machine)
        print((run.path / "timing.md").read_text(encoding="utf-8"))
        print(run.path)


def _evaluate(verb: Evaluate, machine: "Machine") -> None:
    from robust_tickets import stages

    file, rows = stages.evaluate_file(
        verb.checkpoint,
        machine,
        attacks=verb.attacks,
        split=verb.split,
        limit=verb.limit,
        seed=verb.seed,
        name=verb.data.name,
        root=verb.data.root,
        download=verb.data.download,
        elsewhere=verb.runs,
    )
    print(stages.pretty(rows))
    print(file)


def _table(verb: Table) -> None:
    from robust_tickets import report, runs

    run = runs.RunDirectory.open(verb.run)
    text = report.csv(run) if verb.format == "csv" else report.markdown(run)
    if verb.out is None:
        print(text, end="")
    else:
        runs.write_text(verb.out, text)
        print(verb.out)


def _overview() -> str:
    lines = [
        "usage: robust-tickets VERB [OPTIONS]",
        "",
        "Find boosting tickets by adversarial training and pruning, reuse them, compare them with dense.",
        "",
        *(f"  {name:<10} {(verb.__doc__ or '').split('. ')[0].rstrip('.')}" for name, verb in VERBS.items()),
        "",
        "  robust-tickets VERB --help   all options of a verb, with defaults and units",
        "  robust-tickets --version     the version",
        "",
        "Start with: robust-tickets compare --recipe demo",
    ]
    return "\n".join(lines)


def _attack_error() -> type[ValueError]:
    """The attacks' own InputError: they know nothing of this package."""
    import attacks

    return attacks.InputError


def _fail(message: str, status: int) -> NoReturn:
    print(f"robust-tickets: {message}", file=sys.stderr)
    sys.exit(status)
