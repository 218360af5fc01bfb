"""The command line: `robust-tickets VERB ...`. It reads `--recipe`, lets flags override its fields, and
prints.

torch is imported by the verbs that need it, so that help and mistakes answer at once.
"""

import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

import tyro

from robust_tickets.base import machine as machines
from robust_tickets.base import progress, signals
from robust_tickets.base.errors import InputError, unknown_name
from robust_tickets.base.version import __version__
from robust_tickets.cli.commands import (
    REGISTRY,
    STUDIES,
    VERBS,
    Compare,
    Evaluate,
    Recipes,
    Running,
    Search,
    Study,
    Train,
    Verb,
)
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe import schema
from robust_tickets.recipe.eps import Eps

if TYPE_CHECKING:
    import pandas as pd

    from robust_tickets.base.machine import Machine

T = TypeVar("T")


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
        name, flags = _verb_named(words)
        with signals.exit_on_interrupt(), signals.handle_signals():
            _run(_parse(VERBS[name], name, flags))
    except InputError as error:
        _fail(str(error), 2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}", 2)


def _verb_named(words: list[str]) -> tuple[str, list[str]]:
    """The verb, of one word or two, and what follows it. Raises InputError for an unknown one."""
    pair = " ".join(words[:2])
    if pair in VERBS:
        return pair, words[2:]
    seconds = [name.split()[1] for name in VERBS if name.startswith(f"{words[0]} ")]
    if seconds:
        if words[1:] and not words[1].startswith("-"):
            raise unknown_name("command", words[1], seconds, shown=pair)
        raise InputError(f"{words[0]} needs to know what to do: {', '.join(seconds)}")
    if words[0] not in VERBS:
        raise unknown_name("command", words[0], VERBS)
    return words[0], words[1:]


def _parse(verb: type[T], name: str, words: list[str]) -> T:
    """The verb with its flags; where it runs by a recipe, that is read first and gives the defaults."""
    default: T | None = None
    if issubclass(verb, Running):
        given = _recipe_named(words)
        if given is not None:
            default = verb(recipe=given, fields=recipes.load(given))
        elif not {"-h", "--help"} & set(words):
            raise InputError(
                f"{name} needs --recipe: one of {', '.join(recipes.shipped_names())}, or a TOML file"
            )
    prog = f"robust-tickets {name}"
    if default is None:
        parsed = tyro.cli(verb, args=words, prog=prog, registry=REGISTRY)
    else:
        parsed = tyro.cli(verb, args=words, prog=prog, default=default, registry=REGISTRY)
    if isinstance(parsed, Running):
        recipes.check(
            parsed.fields
        )  # first, so that its messages name `search.lr` and not `fields.search.lr`
        asked = isinstance(default, Running) and parsed.fields.study != default.fields.study
        if asked and not isinstance(parsed, Study):
            raise InputError(
                f"--study.* does nothing to {name}: leave it out, or ask by robust-tickets study"
            )
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
        for name in recipes.shipped_names():
            print(f"{name:<24} {recipes.load(name).summary}")
    elif isinstance(verb, Evaluate):
        _evaluate(verb)
    elif isinstance(verb, Running):
        _run_recipe(verb)
    else:
        from robust_tickets.cli import file_jobs

        file_jobs.do(verb)


def _run_recipe(verb: Running) -> None:
    with signals.deferred():  # what a signal breaks off half imported fails in odd ways
        from robust_tickets.comparison import compare
        from robust_tickets.stages import experiment

    machine = _machine(verb)
    what = experiment.Experiment(verb.fields)
    if isinstance(verb, Search):
        print(compare.search(what, verb.seed, verb.runs, machine))
    elif isinstance(verb, Train):
        print(compare.train_from(what, verb.seed, verb.runs, machine, verb.ticket))
    elif isinstance(verb, Study):
        _study(verb, machine)
    elif isinstance(verb, Compare) and verb.dry_run:
        from robust_tickets.comparison.estimate import estimate

        print(estimate(what, verb.seeds, machine))
    elif isinstance(verb, Compare):
        seeds = range(verb.seed, verb.seed + verb.seeds)
        run = compare.compare(what, seeds, verb.runs, machine, verb.jobs)
        print(run.timing_markdown.read_text(encoding="utf-8"))
        print(run.path)


def _study(verb: Study, machine: "Machine") -> None:
    if not verb.name:
        raise InputError(f"study needs to know which: {', '.join(STUDIES)}")
    if verb.name not in STUDIES:
        raise unknown_name("study", verb.name, STUDIES)
    with signals.deferred():
        from robust_tickets.stages import experiment
        from robust_tickets.studies import study

    if verb.dry_run:
        print(study.forecast(verb.name, experiment.Experiment(verb.fields), verb.seeds, machine))
        return
    seeds = range(verb.seed, verb.seed + verb.seeds)
    done = study.study(verb.name, experiment.Experiment(verb.fields), seeds, verb.runs, machine, verb.jobs)
    print((done.folder / f"{verb.name}.md").read_text(encoding="utf-8"))
    print(done.folder)


def _evaluate(verb: Evaluate) -> None:
    with signals.deferred():
        from robust_tickets.evaluation import robustness_csv
        from robust_tickets.stages import evaluate, evaluation_run, load_checkpoint

    eps = tuple(Eps(text) for text in verb.threat.eps or ())
    their = verb.from_model

    def show(rows: "pd.DataFrame") -> None:
        if verb.source is not None:
            print(f"images made on the net of {verb.source}, to the last step, and judged by this one:\n")
        print(robustness_csv.format_rows(rows), flush=True)

    done = evaluate.evaluate_file(
        verb.checkpoint,
        _machine(verb),
        evaluation_run.EvaluationRequest(
            verb.attacks, verb.split, verb.limit, verb.seed, eps, verb.threat.norm, verb.source
        ),
        source=load_checkpoint.ImageSource(
            verb.data.name, verb.data.root, verb.data.download, verb.data.resize
        ),
        model=load_checkpoint.NetDescription(verb.model.name, verb.model.width, verb.model.normalise),
        source_model=load_checkpoint.SourceNetDescription(their.name, their.width, their.normalise),
        elsewhere=verb.runs,
        pictures=verb.save_images,
        done=show,
    )
    of = " of the judged net itself, attacked directly" if verb.source is not None else ""
    print(f"\nsanity checks{of}, on {done.sanity.samples} of the images:\n{done.sanity}\n")
    if done.curve is not None:
        print(done.curve)
    print(done.file)


def _machine(verb: Running | Evaluate) -> "Machine":

    return machines.Machine(
        verb.device,
        progress.stderr_progress(),
        machines.CheckpointInterval(verb.checkpoint_minutes, verb.checkpoint_steps),
    )


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [
        "usage: robust-tickets VERB [OPTIONS]",
        "",
        "Find boosting tickets by adversarial training and pruning, reuse them, compare them with dense.",
        "",
        *(
            f"  {name:<{width}} {(verb.__doc__ or '').split('. ')[0].rstrip('.')}"
            for name, verb in VERBS.items()
        ),
        "",
        "  robust-tickets VERB --help   all options of a verb, with defaults and units",
        "  robust-tickets --version     the version",
        "",
        "Start with: robust-tickets compare --recipe demo",
    ]
    return "\n".join(lines)


def _fail(message: str, status: int) -> NoReturn:
    print(f"robust-tickets: {message}", file=sys.stderr)
    sys.exit(status)
