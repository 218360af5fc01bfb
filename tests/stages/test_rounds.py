"""A search that resumes after earlier rounds gives what a whole one gives, and takes no other rounds."""

import json
import shutil
from dataclasses import replace

import pytest
from torch import nn

from robust_tickets.data.dataset import SPECS
from robust_tickets.data.user_images import from_tensors
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Data, Model
from robust_tickets.recipe.training_fields import Search, Train
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages import costs
from robust_tickets.stages import search as search_stage
from robust_tickets.stages.experiment import Experiment

SEARCHES = {
    "epochs": Search(batch=32, method="fgsm", epochs=1, ratio=0.3),
    "rewound": Search(
        batch=32, method="natural", iterations=4, rewind_iterations=2, ratio=0.3, schedule="cosine"
    ),
    "by layer": Search(
        batch=32, method="natural", epochs=1, ratio=0.3, scope="layer", optimiser="adam", lr=0.01
    ),
}
FILES = ("ticket.safetensors", "metrics.jsonl")


@pytest.fixture(scope="module")
def recipe_of(tiny_recipe):
    """The recipe with a kind of search of so many rounds; the rewound one has BatchNorm."""

    def make(kind, rounds):
        model = (
            Model("resnet20", width=0.25) if kind == "rewound" else Model("conv-2", width=0.1, dropout=0.2)
        )
        return replace(tiny_recipe, model=model, search=replace(SEARCHES[kind], rounds=rounds))

    return make


@pytest.fixture(scope="module")
def whole(recipe_of, tmp_path_factory):
    """The run directories of uninterrupted searches, and the folder of each search, by kind and rounds."""
    searches = {}

    def get(kind, rounds):
        if (kind, rounds) not in searches:
            run = RunDirectory.of(tmp_path_factory.mktemp("whole"), recipe_of(kind, rounds))
            file = search_stage.search(Experiment(run.recipe), 0, run)
            searches[kind, rounds] = run.path, file.parent
        return searches[kind, rounds]

    return get


@pytest.fixture
def earlier(whole, tmp_path):
    """Copy an uninterrupted search into the test's runs; gives its folder there."""

    def copy(kind, rounds):
        path, folder = whole(kind, rounds)
        shutil.copytree(path, tmp_path / path.name)
        return tmp_path / path.name / folder.relative_to(path)

    return copy


def ledger(folder):
    """The ledger without what depends on the clock."""
    table = read_json(folder / "ledger.json")
    return {key: value for key, value in table.items() if "seconds" not in key and key != "machine_load"}


def same(one, other):
    """Whether two folders hold the same rounds, for the same cost."""
    files = all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)
    return files and ledger(one) == ledger(other)


@pytest.mark.parametrize("kind", SEARCHES)
def test_more_rounds_resume_from_another_run(kind, recipe_of, search, whole, earlier, tmp_path):
    first = earlier(kind, 2)
    folder, rounds = search(recipe_of(kind, 3), tmp_path)
    assert rounds == 1
    assert first.parents[1] != folder.parents[1]
    assert same(folder, whole(kind, 3)[1])
    assert same(first, whole(kind, 3)[1] / "round-2"), "a round is what a search of so many rounds gives"
    assert not same(folder, first)


def test_every_epoch_is_counted_once(recipe_of, search, earlier, tmp_path):
    """The resumed ledger is that of the plan, with the seconds of the earlier rounds."""
    file = earlier("rewound", 2) / "ledger.json"
    table = read_json(file)
    table["seconds"]["update"] = 1000.0
    file.write_text(json.dumps(table))
    recipe = recipe_of("rewound", 3)
    folder, _ = search(recipe, tmp_path)
    table = read_json(folder / "ledger.json")
    assert table["charged_passes"] == costs.search_passes(recipe, SPECS["digits"]).total
    assert 1000 < table["seconds"]["update"] < 1100
    assert 1000 < table["charged_seconds"] < 1100
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3]
    assert [line["passes"] for line in lines] == sorted({line["passes"] for line in lines})


def test_a_search_resumes_from_the_most_rounds_and_names_them(recipe_of, search, earlier, spoken, tmp_path):
    source = earlier("epochs", 2)
    search(recipe_of("epochs", 1), tmp_path)
    spoken.lines.clear()
    _, rounds = search(recipe_of("epochs", 3), tmp_path)
    assert rounds == 1
    (line,) = spoken.lines
    assert line.endswith(f" after round 2 in {source}")


@pytest.mark.parametrize(
    ("rounds", "changes"), [(2, {}), (1, {}), (2, {"name": "other", "train": Train(lr=0.2)})], ids=str
)
def test_a_search_that_was_done_needs_no_training(
    rounds, changes, recipe_of, search, whole, earlier, tmp_path
):
    """A ticket depends neither on the recipe's name nor on the training of the arms."""
    folder = earlier("epochs", 2)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    found, trained = search(replace(recipe_of("epochs", rounds), **changes), tmp_path)
    assert trained == 0
    assert (found == folder) == (rounds == 2 and not changes)
    assert same(found, whole("epochs", rounds)[1])
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


DAMAGES = {
    "ticket cut short": lambda f: (f / FILES[0]).write_bytes((f / FILES[0]).read_bytes()[:-100]),
    "no ticket": lambda f: (f / FILES[0]).unlink(),
    "ticket of another round": lambda f: shutil.copyfile(f / "round-1" / FILES[0], f / FILES[0]),
    "metrics of one round": lambda f: shutil.copyfile(f / "round-1" / FILES[1], f / FILES[1]),
    "metrics of numbers": lambda f: (f / FILES[1]).write_text("3\n[]\n"),
    "no metrics": lambda f: (f / FILES[1]).unlink(),
    "ledger cut short": lambda f: (f / "ledger.json").write_text("{"),
    "empty ledger": lambda f: (f / "ledger.json").write_text("{}"),
    "ledger of another phase": lambda f: (f / "ledger.json").write_text(
        '{"seconds": {"nap": 1}, "passes": {}, "flops": {}}'
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_rounds_are_passed_over(damage, recipe_of, search, whole, earlier, spoken, tmp_path):
    folder = earlier("epochs", 2)
    DAMAGES[damage](folder)
    resumed, rounds = search(recipe_of("epochs", 3), tmp_path)
    assert rounds == 2
    assert same(resumed, whole("epochs", 3)[1])
    first, second = spoken.lines
    assert str(folder) in first
    assert second.endswith(f" after round 1 in {folder / 'round-1'}")


@pytest.fixture(scope="module")
def short_recipe(tiny_recipe):
    """The tiny recipe with a short search of so many rounds."""

    def make(rounds, **concerns):
        search = Search(batch=64, method="natural", epochs=1, ratio=0.3, rounds=rounds)
        return replace(tiny_recipe, search=search, **concerns)

    return make


@pytest.fixture(scope="module")
def one_round(short_recipe, tmp_path_factory):
    """A run directory with a search of one round."""
    run = RunDirectory.of(tmp_path_factory.mktemp("runs"), short_recipe(1))
    search_stage.search(Experiment(run.recipe), 0, run)
    return run.path


@pytest.fixture
def runs(one_round, tmp_path):
    """A runs folder with the search of one round."""
    shutil.copytree(one_round, tmp_path / one_round.name)
    return tmp_path


@pytest.mark.parametrize(("seed", "rounds"), [(0, 1), (1, 2)])
def test_the_same_search_of_the_same_seed_resumes(seed, rounds, short_recipe, search, runs):
    assert search(short_recipe(2), runs, seed=seed)[1] == rounds


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("search.lr", 0.05),
        ("search.rewind_iterations", 1),
        ("search.ignored_layers", "fc3.weight"),
        ("data.val_images", 50),
        ("data.train_images", 96),
        ("model.width", 0.3),
        ("model.init", "glorot-normal"),
        ("threat.eps", Eps("0.2")),
        ("evaluate.val_steps", 3),
        ("evaluate.select_by", "clean"),
        ("compute.channels_last", False),
    ],
)
def test_a_search_that_differs_in_a_field_starts_from_the_beginning(
    path, value, short_recipe, search, spoken, runs
):
    concern, field = path.split(".")
    recipe = short_recipe(2)
    other = replace(recipe, **{concern: replace(getattr(recipe, concern), **{field: value})})
    assert search(other, runs)[1] == 2
    assert not spoken.lines


@pytest.mark.parametrize(
    ("field", "value"),
    [("aa_images", 20), ("aa_checkpoints", ("last",)), ("aa_whole", "off"), ("sanity", "off")],
)
def test_a_search_is_the_same_whatever_judges_the_arms(
    field, value, short_recipe, search, spoken, runs, one_round
):
    recipe = short_recipe(1)
    other = replace(recipe, evaluate=replace(recipe.evaluate, **{field: value}))
    assert search(other, runs)[1] == 0
    assert spoken.lines == [f"search, seed 0: done already in {runs / one_round.name / 'seed-0' / 'search'}"]


@pytest.mark.parametrize(("key", "rounds"), [("cpu", 2), ("torch", 2), ("device", 2), ("cores", 1)])
def test_rounds_of_another_machine_are_left_alone(key, rounds, short_recipe, search, runs, one_round):
    env = runs / one_round.name / "env.json"
    env.write_text(json.dumps({**json.loads(env.read_text()), key: "another"}))
    assert search(short_recipe(2), runs)[1] == rounds


def small_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def other_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


def test_rounds_of_another_network_are_left_alone(short_recipe, search, tmp_path):
    """Name and shapes are equal; only the fingerprint differs."""
    own = {"model": Model("nets:make")}
    search(short_recipe(1, **own), tmp_path, net=small_net)
    assert search(short_recipe(2, **own), tmp_path, net=other_net)[1] == 2
    assert search(short_recipe(3, **own), tmp_path, net=small_net)[1] == 2


@pytest.mark.parametrize("record", [True, False])
def test_rounds_on_other_images_are_left_alone(record, short_recipe, search, tiny_data, tmp_path):
    """One pixel of one image differs; without the run's record of its inputs the ticket tells."""
    own = {"data": Data("own", val_images=40)}
    train, test = ((part.images.clone(), part.labels) for part in (tiny_data.train, tiny_data.test))
    images = from_tensors(train, test, val_images=40)
    train[0][0, 0, 0, 0] ^= 1
    others = from_tensors(train, test, val_images=40)
    assert images.fingerprint != others.fingerprint
    search(short_recipe(1, **own), tmp_path, images=images)
    if not record:
        next(tmp_path.glob("*/inputs.json")).unlink()
    assert search(short_recipe(2, **own), tmp_path, images=others)[1] == 2


def test_a_folder_that_is_no_run_directory_does_no_harm(short_recipe, search, runs):
    for name, text in (("stray", "no = [toml"), ("later", 'name = "x"\n[search]\nfrom_the_future = 1\n')):
        (runs / name).mkdir()
        (runs / name / "recipe.toml").write_text(text)
    assert search(short_recipe(2), runs)[1] == 1
