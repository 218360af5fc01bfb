"""The arms of a comparison, one record each: the one place to touch in order to add an arm.

Recipes, plans, estimates, tables and plots read this table. Schedules are in `recipe.arm_schedules`, and
`stages.step_lengths` computes their lengths. Arms of studies alone are in `recipe.study_arms`.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from robust_tickets.recipe.arm import SEARCH, Arm, no_sentence
from robust_tickets.recipe.arm_refusals import (
    no_places,
    no_single_weights,
    no_ticket_arm,
    no_trained_channels,
    no_trained_ticket,
    no_width,
)
from robust_tickets.recipe.arm_schedules import (
    AMORTISED,
    EQUAL_COST,
    EQUAL_SECONDS,
    FULL,
    SEARCH_STAGE,
    SHORT,
    TICKET_COST,
    TICKET_EQUAL_COST,
    UNTRAINED,
    dynamic,
    search_rate,
)
from robust_tickets.recipe.arm_sentences import (
    amortised_sentence,
    best_sentence,
    equal_cost_caveat,
    equal_cost_sentence,
    equal_seconds_sentence,
    reinit_sentence,
    short_sentence,
    staged_caveat,
    staged_sentence,
    ticket_sentence,
)
from robust_tickets.recipe.arm_table import arm_table
from robust_tickets.recipe.study_arms import STUDY_ARMS

if TYPE_CHECKING:
    from robust_tickets.recipe.recipe import Recipe

_dynamic_arm = partial(Arm, sentence=no_sentence, network="random", refusal=no_single_weights)
_control = partial(Arm, schedule=SHORT, sentence=no_sentence, in_controls_study=True)
_ticket_control = partial(_control, network="ticket", before=SEARCH)
_untrained = partial(Arm, schedule=UNTRAINED, sentence=no_sentence, network="ticket", before=SEARCH)
_narrow_control = partial(_control, network="narrow", refusal=no_width)

# colours are Okabe & Ito's first, which colour-blind readers can tell apart; none is lost on white
ARMS = arm_table(
    [
        Arm(
            name="dense",
            help="the whole network on the full schedule; all others are measured against it",
            colour="#000000",
            schedule=FULL,
            sentence=no_sentence,
            in_controls_study=True,
        ),
        Arm(
            name="ticket",
            help="the ticket on the short schedule, charged its search",
            colour="#D55E00",
            schedule=SHORT,
            sentence=ticket_sentence,
            network="ticket",
            before=SEARCH,
            in_controls_study=True,
        ),
        _untrained(
            name="ticket-untrained",
            help="the ticket as it is, not trained: a sub-network of random weights where the search rewinds "
            "to the init, as with search.pruning_method edge_popup; BatchNorm statistics are estimated on so "
            "many attacked training batches as train.average_batches says",
            colour="#DDAA33",
        ),
        _untrained(
            name="shuffle-untrained",
            help="as ticket-untrained, with the ticket's mask shuffled within each layer",
            colour="#BBBBBB",
            transform="shuffle-layer",
            refusal=no_places,
        ),
        _ticket_control(
            name="ticket-reinit",
            help="as ticket, with its mask and a new init",
            colour="#E69F00",
            transform="reinit",
            sentence=reinit_sentence,
        ),
        _ticket_control(
            name="ticket-shuffle-layer",
            help="as ticket, with its init and its mask shuffled within each layer",
            colour="#56B4E9",
            transform="shuffle-layer",
            refusal=no_places,
        ),
        _ticket_control(
            name="ticket-shuffle-net",
            help="as ticket, with its init and its mask shuffled over the network",
            colour="#A89F00",
            transform="shuffle-net",
            refusal=no_places,
        ),
        _ticket_control(
            name="ticket-shuffle-channels",
            help="as ticket, with as many channels of each layer, at random, of the network that the search "
            "has trained; for search.granularity channel",
            colour="#77AADD",
            transform="shuffle-channels",
            in_controls_study=False,
            refusal=no_trained_channels,
        ),
        _ticket_control(
            name="random",
            help="as ticket, with a new init and a random mask of the same layer densities",
            colour="#999999",
            transform="random",
            refusal=no_places,
        ),
        _narrow_control(
            name="dense-narrow-flops",
            help="on the short schedule, the network narrowed to the ticket's FLOPs (were zeros skipped)",
            colour="#882255",
            match="flops",
        ),
        _narrow_control(
            name="dense-narrow-weights",
            help="on the short schedule, the network narrowed to the ticket's number of weights",
            colour="#117733",
            match="weights",
        ),
        Arm(
            name="dense-best",
            help="dense, had it been stopped at its best epoch",
            colour="#666666",
            schedule=FULL,
            sentence=best_sentence,
            best_epoch_of="dense",
            in_controls_study=True,
        ),
        Arm(
            name="dense-short",
            help="the whole network on the short schedule",
            colour="#0072B2",
            schedule=SHORT,
            sentence=short_sentence,
        ),
        Arm(
            name="dense-equal-cost",
            help="the whole network for the FLOPs of the ticket's search and training, rounded up to epochs "
            "(or steps, where the length is in iterations or a budget)",
            colour="#009E73",
            schedule=EQUAL_COST,
            sentence=equal_cost_sentence,
            caveat=equal_cost_caveat,
        ),
        Arm(
            name="dense-amortised",
            help="the whole network for the FLOPs of the ticket's training and of its share of a search that "
            "compare.reuses trainings use, rounded up to a step",
            colour="#997700",
            schedule=AMORTISED,
            sentence=amortised_sentence,
        ),
        Arm(
            name="reinit-equal-cost",
            help="the ticket's mask with a new init, without the search and for the FLOPs of search and "
            "ticket together, rounded up as dense-equal-cost is",
            colour="#225555",
            schedule=TICKET_EQUAL_COST,
            sentence=no_sentence,
            network="ticket",
            transform="reinit",
        ),
        Arm(
            name="dense-equal-seconds",
            help="the whole network for the seconds of the arm ticket, search included, by a timing of its "
            "steps on this machine; not with --jobs",
            colour="#44AA99",
            schedule=EQUAL_SECONDS,
            sentence=equal_seconds_sentence,
            refusal=no_ticket_arm,
        ),
        Arm(
            name="dense-staged",
            help="with search.after lr-rewind, the whole network on the ticket's stages, the search's "
            "training and then the short schedule, each for the ticket's FLOPs",
            colour="#332288",
            schedule=TICKET_COST,
            sentence=staged_sentence,
            before=SEARCH_STAGE,
            refusal=no_trained_ticket,
            caveat=staged_caveat,
        ),
        Arm(
            name="dense-search-lr",
            help="the whole network on the full schedule from the search's learning rate, without warm-up",
            colour="#CC79A7",
            schedule=replace(FULL, settings=search_rate),
            sentence=no_sentence,
        ),
        _dynamic_arm(
            name="set",
            help="the network under a random mask as dense as the ticket's, on the full schedule: every "
            "train.dst.interval steps some weights are pruned and random ones grow (SET); no search",
            colour="#661100",
            schedule=dynamic(0.3, "random", 0.75),
        ),
        _dynamic_arm(
            name="rigl",
            help="as set, growing the weights with the largest gradients (RigL)",
            colour="#6699CC",
            schedule=dynamic(0.3, "gradient", 0.75),
        ),
        _dynamic_arm(
            name="flying-bird",
            help="as set, with more weights that move, to the end of the training (Flying Bird)",
            colour="#AA4466",
            schedule=dynamic(0.5, "random", 0.0),
        ),
        *STUDY_ARMS,
    ]
)
"""The arms by name, in the order of their help and of their sentences under a table."""


def arm_names() -> list[str]:
    """The names of the arms that a recipe can have."""
    return [name for name, arm in ARMS.items() if not arm.other_search]


def is_arm(name: object) -> bool:
    """Whether a recipe can have an arm of that name: one of the table, with or without a plus."""
    try:
        return not ARMS[str(name)].other_search
    except KeyError:
        return False


def controls() -> tuple[str, ...]:
    """The arms that `study controls` has by default."""
    return tuple(name for name, arm in ARMS.items() if arm.in_controls_study)


def arms_help() -> str:
    """The help of the recipe's field compare.arms."""
    arms = "; ".join(f"{name}: {ARMS[name].help}" for name in arm_names())
    return f"{arms}; ARM+METHOD, as dense+liet: ARM by that training method, or by a table [arms.METHOD]"


def trained_arms(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the arms that are trained, rather than read from another one's files."""
    return tuple(name for name in names if ARMS[name].is_trained)


def needs_ticket(name: str, recipe: "Recipe") -> bool:
    """Whether the search of the recipe has to be done before the arm is trained."""
    arm = ARMS[name]
    has_ticket = any(ARMS[each].is_charged_search for each in recipe.compare.arms)
    return arm.uses_ticket or (arm.schedule.follows_ticket and has_ticket)
