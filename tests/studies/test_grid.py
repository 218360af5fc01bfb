"""The cells of each study: one thing varies, and all else is the recipe's."""

from dataclasses import replace

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import SPECS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import StudySettings
from robust_tickets.recipe.studies import STUDIES, check_study_settings, load_study
from robust_tickets.studies.grid import check_lengths, make_cells, name_setting
from robust_tickets.studies.transfer import changed_recipe

SETTINGS = StudySettings(
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
    return replace(tiny_recipe, search=replace(tiny_recipe.search, method="pgd"), study=SETTINGS)


def varied(cell, base):
    """The fields of a cell's record that are not the base's, but for its arms."""
    one, other = recipes.to_table(cell.recipe), recipes.to_table(base)
    return {
        f"{concern}.{field}": value
        for concern in one
        if isinstance(one[concern], dict) and concern != "compare"
        for field, value in one[concern].items()
        if value != other[concern].get(field)
    }


def cells(name, recipe):
    return make_cells(load_study(name), recipe)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lr", [{"search.lr": 0.01}, {}]),
        ("width", [{"model.width": 0.3}, {"model.width": 0.5}]),
        ("mask-source", [{"search.method": "natural"}, {}]),
        ("search-length", [{"search.epochs": 1}, {"search.epochs": 3}]),
        ("controls", [{}]),
        ("schedule", [{}, {"train.ticket_epochs": 3}]),
    ],
)
def test_one_field_varies_and_no_other(name, expected, base):
    assert [varied(cell, base) for cell in cells(name, base)] == expected


@pytest.mark.parametrize("ratios", [{}, {"scope": "layer", "fc_ratio": 0.2, "output_ratio": 0.1}])
def test_rounds_end_at_one_density_in_every_layer(ratios, base):
    base = replace(base, search=replace(base.search, **ratios))
    grid = cells("rounds", base)
    assert [cell.recipe.search.rounds for cell in grid] == [1, 2, 4]
    assert grid[1].recipe.search == base.search  # its own rounds: the very cell of other studies
    for cell in grid:
        for field in ("ratio", *(f for f in ratios if f != "scope")):
            left = (1 - getattr(cell.recipe.search, field)) ** cell.recipe.search.rounds
            assert left == pytest.approx((1 - getattr(base.search, field)) ** 2)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_ratio_is_the_share_pruned_in_the_end(rounds, base):
    grid = cells("ratio", replace(base, search=replace(base.search, rounds=rounds)))
    for cell, pruned in zip(grid, (0.3, 0.9), strict=True):
        assert 1 - (1 - cell.recipe.search.ratio) ** rounds == pytest.approx(pruned)
        assert cell.setting == f"{pruned:g}"
        assert rounds > 1 or cell.recipe.search.ratio == pruned  # bit for bit: it is other studies' cell too


@pytest.mark.parametrize(
    ("name", "search", "message"),
    [
        (
            "lr",
            {"pruning_method": "snip", "rounds": 1},
            "study lr: it varies something that does nothing with search.pruning_method snip",
        ),
        (
            "rounds",
            {"pruning_method": "snip", "rounds": 1},
            "study rounds: it varies something",
        ),
        (
            "mask-source",
            {"pruning_method": "random", "rounds": 1},
            "does nothing with search.pruning_method random: choose imp",
        ),
        (
            "width",
            {"pruning_method": "random", "rounds": 1},
            "does nothing with search.pruning_method random: choose imp",
        ),
        ("ratio", {"scope": "layer", "fc_ratio": 0.2}, "study ratio: it varies one share for all layers"),
        ("transfer", {"method": "natural"}, "a natural search has no adversary"),
    ],
)
def test_a_search_that_lacks_what_is_varied_is_refused(name, search, message, base):
    with pytest.raises(InputError, match=message):
        cells(name, replace(base, search=replace(base.search, **search)))


def test_a_study_of_the_first_epochs_needs_them(base):
    blind = replace(base, evaluate=replace(base.evaluate, early_epochs=0))
    assert cells("schedule", blind)
    with pytest.raises(InputError, match=r"study lr: .* set evaluate.early_epochs to at least 1"):
        cells("lr", blind)


def test_a_transfer_trains_the_ticket_of_another_recipe(base):
    grid = cells("transfer", base)
    assert all(varied(cell, base) == {} for cell in grid)
    first, second, third = (cell.sources[0].recipe for cell in grid)
    assert [str(first.threat.eps), second.search.method] == ["0.2", "natural"]
    assert third.search.pgd.steps == 3
    assert first.search == base.search


def test_a_stretched_ticket_stands_beside_those_that_need_no_search_of_the_source(base):
    base = replace(base, search=replace(base.search, rounds=2, ratio=0.5))
    (cell,) = cells("elastic", replace(base, study=replace(SETTINGS, elastic=("resnet32",))))
    assert cell.recipe.model.name == "resnet32"
    assert cell.arms[-4:] == ("stretched", "stretched-reinit", "stretched-shuffle-copies", "ticket-snip")
    *stretched, snip = (source.recipe for source in cell.sources)
    assert all(recipe == replace(base, study=recipe.study) for recipe in stretched)
    assert snip.model.name == "resnet32"
    assert (snip.search.pruning_method, snip.search.rounds) == ("snip", 1)
    assert snip.search.ratio == pytest.approx(0.75)
    channels = replace(base, search=replace(base.search, granularity="channel"))
    (cell,) = cells("elastic", replace(channels, study=replace(SETTINGS, elastic=("resnet32",))))
    assert not {"random", "stretched-shuffle-copies"} & set(cell.arms)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("eps=4/255", "is no change of data, threat or search: write FIELD=VALUE, such as threat.eps"),
        ("threat.eps", "is no change of data, threat or search"),
        ("train.lr=0.1", "is no change of data, threat or search"),
        ("threat.radius=1", "unknown field 'threat.radius'"),
        ("search.lr=-1", "search.lr must be above 0"),
        ("threat.eps=0.1", "changes nothing: the recipe has that already"),
    ],
)
def test_a_transfer_that_makes_no_sense_is_refused(change, message, base):
    with pytest.raises(InputError, match=r"^study.transfer ") as caught:
        changed_recipe(base, change)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "study", "message"),
    [
        ("controls", {"controls": ("dense", "random")}, "study controls: study.controls lacks ticket"),
        ("controls", {"controls": ("ticket",)}, "study controls: study.controls lacks dense"),
        ("controls", {"controls": ("dense", "ticket", "dense")}, "study.controls names an arm twice"),
        ("ratio", {"ratio": (0.3, 0.3)}, "study.ratio names a setting twice"),
        ("lr", {"lr": (0.1, 0.1)}, "study.lr names a setting twice"),
        (
            "mask-source",
            {"mask_source": ("pgd",)},
            "study.mask_source has one setting, pgd, and settings are compared",
        ),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(name, study, message, base):
    with pytest.raises(InputError, match=message):
        cells(name, replace(base, study=replace(SETTINGS, **study)))


@pytest.mark.parametrize("name", ["schedule", "search-length"])
def test_studies_in_epochs_refuse_budgets_in_iterations(name, base):
    train = replace(base.train, iterations=10, ticket_iterations=5)
    search = replace(base.search, iterations=10)
    with pytest.raises(InputError, match=f"study {name}: it is in epochs: use a recipe without"):
        cells(name, replace(base, train=train, search=search))


def test_a_control_that_makes_no_sense_names_the_study_and_its_field(base):
    base = replace(base, search=replace(base.search, pruning_method="random", rounds=1))
    with pytest.raises(
        InputError, match=r"^study controls, setting controls: study.controls ticket-reinit makes no sense"
    ):
        cells("controls", replace(base, study=StudySettings(controls=("dense", "ticket", "ticket-reinit"))))
    arms = ("dense", "dense-short", "ticket")
    assert [cell.recipe.compare.arms for cell in cells("ratio", base)] == [arms] * 2
    # nobody asked for what the study has by default
    (cell,) = cells("controls", replace(base, study=StudySettings()))
    assert cell.recipe.compare.arms == (
        "dense",
        "dense-short",
        "ticket",
        "ticket-shuffle-net",
        *NARROW,
        "dense-best",
    )


def test_arms_by_another_method_have_rows_and_are_no_controls(base):
    arms = ("dense", "dense-short", "ticket", "random", "ticket+liet", "dense+nfgsm")
    (cell,) = cells("controls", replace(base, study=StudySettings(controls=arms)))
    assert cell.recipe.compare.arms == arms
    (hypothesis,) = load_study("controls").hypotheses(["controls"], arms)
    assert [comparison.second[1] for comparison in hypothesis.comparisons] == ["dense-short", "random"]


NARROW = ("dense-narrow-flops", "dense-narrow-weights")


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "schedule"])
def test_a_ticket_on_a_shorter_schedule_has_dense_on_it_beside(name, base):
    assert base.train.epochs != base.train.ticket_epochs
    assert all("dense-short" in cell.recipe.compare.arms for cell in cells(name, base))
    as_long = replace(base, train=replace(base.train, ticket_epochs=base.train.epochs))
    assert not any("dense-short" in cell.recipe.compare.arms for cell in cells(name, as_long))


def test_arms_shorter_than_the_early_epochs_are_refused(base):
    long = replace(base, evaluate=replace(base.evaluate, early_epochs=3))
    message = r"lr, setting 0.01: it is about the first 3 epochs.*but dense-short is trained for 2: lower"
    with pytest.raises(InputError, match=message):
        check_lengths(load_study("lr"), cells("lr", long), SPECS["digits"])
    check_lengths(load_study("schedule"), cells("schedule", long), SPECS["digits"])


def test_images_of_another_name_are_not_looked_for_at_the_root(base, tmp_path):
    rooted = replace(base, data=replace(base.data, root=tmp_path))
    assert changed_recipe(rooted, "data.name=mnist").data.root is None
    assert changed_recipe(rooted, "threat.eps=0.2").data.root == tmp_path


@pytest.mark.parametrize("name", ["ratio", "width", "controls"])
def test_messages_name_the_field_of_the_study(name):
    field = {"ratio": "search.ratio", "width": "model.width", "controls": "compare.arms"}[name]
    assert name_setting(load_study(name), f"{field} is odd") == f"study.{name} is odd"


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("recipe", ["lab-cpu", "paper-resnet18", "demo"])
def test_each_study_can_be_asked_of_the_shipped_recipes(name, recipe):
    assert cells(name, recipes.load(recipe))


@pytest.mark.parametrize("name", STUDIES)
def test_settings_of_other_studies_are_refused_unless_they_are_the_recipe_s(name):
    check_study_settings(name, SETTINGS, SETTINGS)
    for other in STUDIES:
        field = load_study(other).field
        changed = replace(SETTINGS, **{field: ()})
        if other == name:
            check_study_settings(name, changed, SETTINGS)
        else:
            message = f"^study.{field} is for the study {other}, and does nothing in {name}: leave it out$"
            with pytest.raises(InputError, match=message):
                check_study_settings(name, changed, SETTINGS)
