"""Run directories: where files lie, and that a run goes on only with its machine and its inputs."""

import platform
from dataclasses import replace
from pathlib import Path

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data
from robust_tickets.recipe.recipe import Recipe
from robust_tickets.recipe.training_fields import Train
from robust_tickets.runs import directory, files
from robust_tickets.runs.arm_directory import ArmDirectory
from robust_tickets.runs.directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory.of(tmp_path / "runs", Recipe())


def touch(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def test_the_folder_is_named_by_recipe_and_identity_and_created_by_begin(run, tmp_path):
    assert run.path == tmp_path / "runs" / f"custom-{Recipe().identity}"
    assert run.arm(3, "dense").path == run.path / "seed-3" / "dense"
    assert not (tmp_path / "runs").exists()
    run.begin("cpu", {})
    assert RunDirectory.paths(tmp_path / "runs") == [run.path]


def test_a_run_opens_with_its_recipe(tmp_path):
    demo = replace(recipes.load("demo"), data=Data(val_images=100, root=Path("/home/somebody")))
    run = RunDirectory.of(tmp_path, demo)
    run.begin("cpu", {})
    opened = RunDirectory.open(run.path)
    assert opened.recipe.identity == demo.identity
    assert opened.recipe == replace(demo, summary="", data=Data(val_images=100))


def test_no_path_and_no_host_is_written_and_the_machine_is(tmp_path):
    run = RunDirectory.of(tmp_path, Recipe(data=Data(root=Path("/home/somebody"))))
    run.begin("cpu", {})
    text = "".join(path.read_text() for path in run.path.iterdir())
    assert "somebody" not in text
    assert str(tmp_path) not in text
    assert not platform.node() or f'"{platform.node()}"' not in text
    machine = files.read_json(run.machine_file)
    assert machine["threads"] == Recipe().compute.threads
    assert {"torch", "python", "cpu", "cores", "gpu", "robust_tickets"} <= set(machine)


def test_a_second_begin_keeps_what_is_written(run):
    run.begin("cpu", {})
    remark = run.recipe_file.read_text() + "# a remark"
    run.recipe_file.write_text(remark)
    run.machine_file.write_text("as it was")
    run.begin("cpu", {})
    assert [file.read_text() for file in (run.recipe_file, run.machine_file)] == [remark, "as it was"]


def test_an_arm_is_finished_with_its_ledger_and_knows_its_run(run):
    arm = run.arm(0, "dense")
    touch(arm.best)
    assert not arm.is_finished
    assert not arm.in_run
    run.begin("cpu", {})
    touch(arm.ledger)
    assert arm.is_finished
    assert arm.in_run
    assert arm.run_path == run.path
    assert str(arm) == str(run.path / "seed-0" / "dense")


def test_finished_rounds_are_found_by_number(tmp_path):
    search = ArmDirectory(tmp_path)
    for name in ("round-1", "round-12", "round-x", "round-"):
        touch(tmp_path / name / "ledger.json")
    touch(tmp_path / "round-2" / "metrics.jsonl")
    assert sorted(number for number, _ in search.rounds()) == [1, 12]
    assert all(folder.path == search.round(number).path for number, folder in search.rounds())


def test_seeds_are_the_folders_with_a_number_in_order(tmp_path):
    run = RunDirectory(tmp_path, Recipe())
    assert run.seeds() == []
    for name in ("seed-10", "seed-2", "seed-0", "seed-x", "seed-", "seeds-4", "seed-1-old"):
        (tmp_path / name).mkdir()
    (tmp_path / "seed-7").write_text("a file")
    assert run.seeds() == [0, 2, 10]


def test_siblings_are_the_other_runs_that_can_be_read(run, tmp_path):
    other = RunDirectory.of(tmp_path / "runs", Recipe(train=Train(epochs=7)))
    for each in (run, other):
        each.begin("cpu", {})
        touch(each.arm(0, "dense").record)
        touch(each.arm(0, "dense").ledger)
    touch(other.arm(1, "dense").record)
    touch(tmp_path / "runs" / "damaged" / "recipe.toml")
    assert [sibling.path for sibling in run.siblings()] == [other.path]
    assert run.sibling_arms(run.arm(0, "dense")) == [other.arm(0, "dense")]
    assert run.sibling_arms(run.arm(1, "dense")) == [], "it is not finished"


RECIPE = recipes.to_toml(Recipe())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is no run directory"),
        ("[search", "no valid TOML"),
        (RECIPE + "\n[study]\nlrr = 1\n", r"unknown field 'study\.lrr'"),
        (RECIPE.replace("epochs = 30", "epochs = 0"), "at least 1"),
        (RECIPE.replace("format = 2", "format = 1"), "is of format 1, and this release reads format 2"),
        (RECIPE.replace("format = 2\n", ""), "is of format 1, and this release reads format 2"),
    ],
)
def test_other_folders_and_other_formats_are_refused(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "recipe.toml").write_text(content)
    with pytest.raises(InputError, match=rf"{tmp_path}.*{reason}"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize("key", ["device", "cpu", "vectors", "gpu", "torch"])
def test_a_run_of_another_machine_is_refused(run, key):
    run.check_machine("cpu")
    run.begin("cpu", {})
    run.check_machine("cpu")
    files.write_json(run.machine_file, {**files.read_json(run.machine_file), key: "another"})
    with pytest.raises(InputError, match=f"began on a machine with {key} another.*--runs"):
        run.check_machine("cpu")


def test_a_run_of_other_inputs_is_refused(run):
    run.begin("cpu", {"images": "a" * 16})
    run.check_inputs({"images": "a" * 16, "net": "b" * 16})
    with pytest.raises(InputError, match=f"began with other images .{'a' * 16}, not {'c' * 16}.*--data.root"):
        run.check_inputs({"images": "c" * 16})


def test_two_seeds_need_two_networks(run):
    run.begin("cpu", {"net of seed 0": "a" * 16})
    run.check_inputs({"net of seed 0": "a" * 16})
    run.check_inputs({"net of seed 1": "b" * 16})
    with pytest.raises(InputError, match="net of seed 1 is bit for bit the net of seed 0"):
        run.check_inputs({"net of seed 1": "a" * 16})


@pytest.mark.parametrize("key", ["cpu", "vectors", "gpu", "device"])
def test_on_request_a_run_goes_on_on_another_machine_which_is_recorded(key, run):
    run.begin("cpu", {})
    own = files.read_json(run.machine_file)
    files.write_json(run.machine_file, {**own, key: "another"})
    with pytest.raises(InputError, match="or continue with --any-machine, which marks the seconds"):
        run.check_machine("cpu")
    for _ in range(2):  # recorded once
        run.check_machine("cpu", any_machine=True)
        run.begin("cpu", {}, any_machine=True)
    assert run.machines() == [{**own, key: "another"}, own]
    run.check_machine("cpu")  # which it knows from now on


H100 = {"device": "cuda", "cpu": "one", "vectors": "AVX2", "gpu": "H100", "cudnn": 92000, "tf32": False}


@pytest.mark.parametrize(
    ("key", "other", "refused"),
    [
        ("device", "cpu", True),
        ("gpu", "H200", True),
        ("cudnn", 91000, True),
        ("tf32", True, True),
        ("torch", "1.0", True),
        ("cpu", "another", False),
        ("vectors", "AVX512", False),
    ],
)
def test_a_run_on_a_gpu_may_go_on_under_another_processor(key, other, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "describe_machine", lambda *_: {**H100, "torch": "2.14"})
    run = RunDirectory.of(tmp_path, Recipe())
    run.begin("cuda", {})
    files.write_json(run.machine_file, {**files.read_json(run.machine_file), key: other})
    if refused:
        with pytest.raises(InputError, match=f"began on a machine with {key} {other}"):
            run.check_machine("cuda")
    else:
        run.check_machine("cuda")


def test_another_version_of_pytorch_is_refused_on_any_machine(run):
    run.begin("cpu", {})
    files.write_json(run.machine_file, {**files.read_json(run.machine_file), "torch": "1.0", "cpu": "x"})
    for any_machine in (False, True):
        with pytest.raises(InputError, match="began on a machine") as caught:
            run.check_machine("cpu", any_machine=any_machine)
        assert "--any-machine" not in str(caught.value)


def test_a_run_of_one_machine_stays_one(run):
    for _ in range(2):
        run.begin("cpu", {}, any_machine=True)
    assert len(run.machines()) == 1
    assert "others" not in files.read_json(run.machine_file)
