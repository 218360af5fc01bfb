"""The arms that start from the ticket of another recipe's search, which studies add to those of a recipe."""

from functools import partial

from robust_tickets.recipe.arm import SEARCH, Arm, no_sentence
from robust_tickets.recipe.arm_schedules import SHORT, UNTRAINED

_other_ticket = partial(
    Arm, schedule=SHORT, sentence=no_sentence, network="ticket", before=SEARCH, other_search=True
)

STUDY_ARMS = (
    _other_ticket(
        name="ticket-from",
        help="as ticket, from the ticket of another recipe",
        colour="#CC3311",
    ),
    _other_ticket(
        name="stretched",
        help="as ticket, from the ticket of a shallower network, whose blocks are copied",
        colour="#AA4499",
    ),
    _other_ticket(
        name="stretched-reinit",
        help="as stretched, with a new init",
        colour="#CC6677",
        transform="reinit",
    ),
    _other_ticket(
        name="stretched-shuffle-copies",
        help="as stretched, with the mask of each copied block shuffled within its layers",
        colour="#AA9955",
        transform="shuffle-copies",
    ),
    _other_ticket(
        name="ticket-snip",
        help="as ticket, from the weights that SNIP keeps, as many in all",
        colour="#999933",
    ),
    _other_ticket(
        name="grown-reset",
        help="as ticket, from a network that grows and whose weights start anew after each round",
        colour="#222255",
    ),
    _other_ticket(
        name="grown-unpruned",
        help="as ticket, from a network that grows and is not pruned",
        colour="#666633",
    ),
    _other_ticket(
        name="imp-reset",
        help="as ticket, from as many rounds on the whole network with rewinding, for the same FLOPs",
        colour="#663333",
    ),
    _other_ticket(
        name="imp-continue",
        help="as ticket, from as many rounds on the whole network that go on, for the same FLOPs",
        colour="#555555",
    ),
    _other_ticket(
        name="strong-untrained",
        help="as ticket-untrained, from the random weights that edge_popup keeps",
        colour="#4477AA",
        schedule=UNTRAINED,
    ),
    _other_ticket(
        name="strong-shuffled",
        help="as strong-untrained, with the mask shuffled within each layer",
        colour="#66CCEE",
        schedule=UNTRAINED,
        transform="shuffle-layer",
    ),
    _other_ticket(
        name="strong-trained",
        help="as ticket, from the random weights that edge_popup keeps",
        colour="#EE6677",
    ),
)
"""In the order of tables and plots."""
