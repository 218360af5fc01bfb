"""The cells of each study: one thing varies, and all else is the recipe's."""

from dataclasses import replace

import pytest

from robust_tickets import recipe as recipes
from robust_tickets.errors import InputError
from robust_tickets.settings import Study
from robust_tickets.studies.grid import GRIDS, cells, changed
from robust_tickets.verbs import STUDIES

STUDY = Study(
    lr=(0.01, 0.1),
    ratio=(0.3, 0.9),
    width=(0.3, 0.5),
    mask_source=("natural", "pgd"),
    search_length=(1, 3),
    rounds=(1, 2, 4),
    schedule=(2, 3),
    transfer=("threat.eps=0.2", "search.method=natural", "search.pgd.steps=3"),
)


@pytest.fixture
def base(tiny_recipe):
    return replace(tiny_recipe, search=replace(tiny_recipe.search, method="pgd"), study=STUDY)


def varied(cell, base):
    """The fields of a cell's record that are not the base's, but for its arms."""
    one, other = recipes.record(cell.recipe), recipes.record(base)
    return {
        f"{concern}.{field}": value
        for concern in one
        if isinstance(one[concern], dict) and concern != "compare"
        for field, value in one[concern].items()
        if value != other[concern].get(field)
    }


def test_the_command_line_knows_every_study():
    assert list(GRIDS) == list(STUDIES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lr", [{"search.lr": 0.01}, {}]),
        ("ratio", [{"search.ratio": 0.3}, {"search.ratio": 0.9}]),
        ("width", [{"model.width": 0.3}, {"model.width": 0.5}]),
        ("mask-source", [{"search.method": "natural"}, {}]),
        ("search-length", [{"search.epochs": 1}, {"search.epochs": 3}]),
        ("controls", [{}]),
        ("schedule", [{}, {"train.ticket_epochs": 3}]),
    ],
)
def test_one_field_varies_and_no_other(name, expected, base):
    assert [varied(cell, base) for cell in cells(name, base)] == expected


def test_rounds_end_at_one_density(base):
    found = cells("rounds", base)
    assert [cell.recipe.search.rounds for cell in found] == [1, 2, 4]
    for cell in found:
        search = cell.recipe.search
        assert (1 - search.ratio) ** search.rounds == pytest.approx(0.25)


def test_a_transfer_trains_by_the_recipe_what_another_found(base):
    found = cells("transfer", base)
    assert all(varied(cell, base) == {} for cell in found)
    assert [str(found[0].source.threat.eps), found[1].source.search.method] == ["0.2", "natural"]
    assert found[2].source.search.pgd.steps == 3
    assert found[0].source.search == base.search


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("eps=4/255", "is no change of data, threat or search: write it as threat.eps=4/255"),
        ("threat.eps", "is no change of data, threat or search"),
        ("train.lr=0.1", "is no change of data, threat or search"),
        ("threat.radius=1", "unknown field 'threat.radius'"),
        ("search.lr=-1", "search.lr must be above 0"),
        ("threat.eps=0.1", "changes nothing: the recipe has that already"),
    ],
)
def test_a_transfer_that_makes_no_sense_is_named(change, says, base):
    with pytest.raises(InputError, match=r"^study.transfer ") as caught:
        changed(base, change)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "study", "says"),
    [
        ("controls", {"controls": ("dense", "random")}, "study.controls lacks ticket"),
        ("controls", {"controls": ("ticket",)}, "setting : compare.arms lacks dense"),
        ("ratio", {"ratio": (0.3, 0.3)}, "study.ratio names a setting twice"),
        ("lr", {"lr": (0.1, 0.1)}, "study.lr names a setting twice"),
        (
            "mask-source",
            {"mask_source": ("pgd",)},
            "study.mask_source has one setting, pgd, and they are held",
        ),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(name, study, says, base):
    with pytest.raises(InputError, match=says):
        cells(name, replace(base, study=replace(STUDY, **study)))


@pytest.mark.parametrize("name", ["schedule", "search-length"])
def test_studies_in_epochs_refuse_budgets_in_iterations(name, base):
    train = replace(base.train, iterations=10, ticket_iterations=5)
    search = replace(base.search, iterations=10)
    with pytest.raises(InputError, match=f"study {name} is in epochs: use a recipe without"):
        cells(name, replace(base, train=train, search=search))


def test_a_control_that_makes_no_sense_for_the_ticket_names_the_study(base):
    random = replace(base.search, finder="random", rounds=1)
    with pytest.raises(
        InputError, match=r"study lr.* ticket-reinit makes no sense with search.finder random"
    ):
        cells("lr", replace(base, search=random))


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("recipe", ["lab-cpu", "paper-resnet18"])
def test_each_study_can_be_asked_of_the_shipped_recipes(name, recipe):
    assert cells(name, recipes.load(recipe))
