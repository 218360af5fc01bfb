"""Wrong flags: one line that names the flag, and what to write instead."""

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.parse import parse

SEARCH = "search --recipe demo"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"{SEARCH} --search.lrr 1", "unknown flag --search.lrr: did you mean --search.lr[?]"),
        (
            f"{SEARCH} --lr=1",
            "unknown flag --lr: did you mean --search.lr or --train.lr or --search.edge-popup.lr[?]",
        ),
        (f"{SEARCH} --no-augment", "did you mean --search.no-augment or --train.no-augment[?]"),
        (f"{SEARCH} --xyz", "unknown flag --xyz: robust-tickets search --help all lists all flags$"),
        ("table . --frmat csv", "did you mean --format[?] robust-tickets table --help lists all flags$"),
        (f"{SEARCH} --save-minutes 1", "--save-minutes: it is now called --checkpoint-minutes$"),
        (f"{SEARCH} --search.finder imp", "--search.finder: it is now called --search.pruning-method$"),
        (f"{SEARCH} --study.lr 1", "unknown flag --study.lr: search has no grid"),
        (f"{SEARCH} --seed", r"^--seed needs a value \(N\): seed of init"),
        (f"{SEARCH} --train.milestones --seed 1", r"^--train.milestones needs a value \(X\.\.\.\)"),
        (f"{SEARCH} more", "^unexpected 'more': robust-tickets search \\[OPTIONS\\]"),
        (f"{SEARCH} --compute.compile true", "^unexpected 'true'"),
        ("table", r"^table needs RUN\.\.\. \(a run directory, .*\): robust-tickets table RUN\.\.\."),
        ("ticket diff one", r"^ticket diff needs ONE \(.*\) and OTHER \(.*\): robust-tickets ticket diff"),
        ("search", "^search needs --recipe: one of cifar10"),
        ("search demo --seed 1", "^search needs --recipe: write --recipe demo for 'demo'$"),
        ("study lr demo", "^study needs --recipe: write --recipe demo for 'demo'$"),
        ("study lr", "^study needs --recipe: one of cifar10"),
        ("search --recipe .", "^recipe [.] is a folder: name a TOML file"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_named_with_what_to_write(words, message):
    name = "ticket diff" if words.startswith("ticket") else words.split()[0]
    with pytest.raises(InputError, match=message):
        parse(name, words.removeprefix(name).split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--train.epochs x", "^train.epochs must be a whole number, got 'x'$"),
        ("--train.lr x", "^train.lr must be a number, got 'x'$"),
        ("--search.fc-ratio x", "^search.fc_ratio must be a number, got 'x'$"),
        ("--train.milestones 0.5 x", "^train.milestones must be a number, got 'x'$"),
        ("--threat.eps x", "^threat.eps: eps 'x' is no number"),
        ("--search.round-to 9", "^unknown value for search.round_to: '9'"),
        ("--search.method trads", "^unknown value for search.method: 'trads': did you mean 'trades'"),
        ("--compare.arms dense tickt", "^unknown value for compare.arms: 'tickt': did you mean 'ticket'"),
        ("--seed x", "^seed must be a whole number, got 'x'$"),
    ],
)
def test_a_wrong_value_has_the_message_of_a_recipe_file(words, message):
    with pytest.raises(InputError, match=message):
        parse("search", ["--recipe", "demo", *words.split()])


def test_values_have_the_types_of_their_fields():
    words = "--recipe demo --search.round-to 16 --search.granularity channel --search.lr 1 --search.images 7"
    recipe = parse("search", f"{words} --threat.eps 2/255".split()).fields
    assert (recipe.search.round_to, recipe.search.lr, recipe.search.images) == (16, 1.0, 7)
    assert type(recipe.search.lr) is float
    assert recipe.threat.eps.value == 2 / 255
