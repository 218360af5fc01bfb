"""The whole job on a tiny recipe, through the command line."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from robust_tickets.cli.main import main
from robust_tickets.recipe import recipe as recipes
from robust_tickets.report.tables import COLUMNS
from robust_tickets.stages.experiment import Experiment

ARMS = ["dense", "dense-short", "dense-equal-cost", "ticket"]


@pytest.fixture(scope="module")
def recipe_file(tiny_recipe, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    file.write_text(recipes.to_toml(tiny_recipe))
    return file


@pytest.fixture(scope="module")
def run(recipe_file, tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    main(["compare", "--recipe", str(recipe_file), "--runs", str(runs), "--seeds", "2"])
    (found,) = runs.iterdir()
    return found


def out(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_comparison_leaves_all_its_files(run):
    assert {p.name for p in run.iterdir()} == {
        "recipe.toml", "env.json", "inputs.json", "timing.csv", "timing.md", "curves.svg", "seed-0", "seed-1",
        ".lock", "boosting.csv", "boosting.md",
    }  # fmt: skip
    for seed in (0, 1):
        assert {p.name for p in (run / f"seed-{seed}").iterdir()} == {*ARMS, "search"}
        for arm in ARMS:
            names = {p.name for p in (run / f"seed-{seed}" / arm).iterdir()}
            assert {
                "best.safetensors",
                "last.safetensors",
                "metrics.jsonl",
                "ledger.json",
                "robustness.csv",
            } <= names
    assert not list(run.rglob("*.part"))


def test_the_timing_table_has_its_columns_and_adds_up(run):
    table = pd.read_csv(run / "timing.csv")
    assert list(table.columns) == COLUMNS
    assert list(table.arm) == ARMS
    assert (table.seeds == 2).all()
    row = table.set_index("arm")
    assert row.total_s.to_numpy() == pytest.approx((row.search_s + row.train_s).to_numpy(), rel=1e-4)
    assert (row.search_s[["dense", "dense-short", "dense-equal-cost"]] == 0).all()
    assert row.search_s["ticket"] > 0
    assert row.flops_vs_dense["dense"] == row.seconds_vs_dense["dense"] == 1
    assert row.flops_vs_dense["dense-short"] == pytest.approx(2 / 3, rel=1e-5)
    assert row.total_flops["dense-equal-cost"] >= row.total_flops["ticket"]
    assert (row.clean_mean >= row.fgsm_mean).all()
    assert row.density["ticket"] < 0.3 < row.density["dense"] == 1


def test_no_path_in_the_run_s_records(run, tmp_path_factory):
    base = str(tmp_path_factory.getbasetemp())
    for file in run.rglob("*"):
        if file.suffix in (".toml", ".json", ".jsonl", ".csv", ".md", ".svg", ".safetensors"):
            assert base.encode() not in file.read_bytes(), file


def test_a_second_call_trains_nothing(run, recipe_file, capsys):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    main(["compare", "--recipe", str(recipe_file), "--runs", str(run.parent), "--seeds", "2"])
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")} == before
    assert out(capsys)[-1] == str(run)


def test_search_train_and_compare_share_one_tree(run, recipe_file, capsys):
    words = ["--recipe", str(recipe_file), "--runs", str(run.parent)]
    main(["search", *words])
    ticket = run / "seed-0" / "search" / "ticket.safetensors"
    assert out(capsys)[-1] == str(ticket)
    main(["train", *words, "--ticket", str(ticket)])
    assert out(capsys)[-1] == str(run / "seed-0" / "ticket")
    main(["train", *words])
    assert out(capsys)[-1] == str(run / "seed-0" / "dense")


def test_another_seed_s_ticket_is_an_arm_of_its_own(run, recipe_file, capsys):
    ticket = run / "seed-1" / "search" / "ticket.safetensors"
    main(["train", "--recipe", str(recipe_file), "--runs", str(run.parent), "--ticket", str(ticket)])
    folder = Path(out(capsys)[-1])
    assert folder.parent == run / "seed-0"
    assert folder.name.startswith("ticket-")


def test_a_run_again_elsewhere_gives_the_same_numbers(run, recipe_file, tmp_path):
    main(["compare", "--recipe", str(recipe_file), "--runs", str(tmp_path)])
    again = tmp_path / run.name
    for arm in ARMS:
        for name in ("metrics.jsonl", "best.safetensors", "last.safetensors"):
            here, there = (r / "seed-0" / arm / name for r in (again, run))
            assert here.read_bytes() == there.read_bytes(), (arm, name)


def test_the_table_is_made_again_from_files_alone(run, capsys, tmp_path):
    main(["table", str(run)])
    assert capsys.readouterr().out == (run / "timing.md").read_text()
    main(["table", str(run), "--format", "csv"])
    assert capsys.readouterr().out == (run / "timing.csv").read_text()
    main(["table", str(run), "--format", "csv", "--out", str(tmp_path / "t.csv")])
    assert out(capsys) == [str(tmp_path / "t.csv")]
    assert (tmp_path / "t.csv").read_text() == (run / "timing.csv").read_text()


def test_evaluate_a_checkpoint_of_the_run(run, capsys):
    file = run / "seed-0" / "dense" / "best.safetensors"
    before = pd.read_csv(file.parent / "robustness.csv")
    main(["evaluate", str(file), "--attacks", "clean", "pgd-3", "--limit", "30", "--split", "val"])
    lines = out(capsys)
    assert lines[-1] == str(file.parent / "robustness.csv")
    after = pd.read_csv(lines[-1])
    assert len(after) == len(before) + 3  # clean, pgd-3 and their worst case
    main(["evaluate", str(file), "--attacks", "clean", "pgd-3", "--limit", "30", "--split", "val"])
    again = pd.read_csv(out(capsys)[-1])
    assert again.drop(columns="seconds").equals(after.drop(columns="seconds")), (
        "rows are replaced, not repeated"
    )
    main(["table", str(run), "--format", "csv"])
    assert capsys.readouterr().out == (run / "timing.csv").read_text(), "other rows do not change the table"


def test_evaluate_a_checkpoint_that_was_carried_away(run, tmp_path, capsys):
    file = tmp_path / "model.safetensors"
    file.write_bytes((run / "seed-0" / "ticket" / "last.safetensors").read_bytes())
    main(
        [
            "evaluate",
            str(file),
            "--runs",
            str(tmp_path / "runs"),
            "--attacks",
            "clean",
            "fgsm",
            "pgd-20",
            "--limit",
            "50",
        ]
    )
    rows = pd.read_csv(out(capsys)[-1]).set_index("attack")
    there = pd.read_csv(run / "seed-0" / "ticket" / "robustness.csv")
    there = there[(there.checkpoint == "last") & (there.n == 50)].set_index("attack")
    for attack in ("clean", "fgsm", "pgd-20", "worst-case(clean fgsm pgd-20)"):
        assert rows.accuracy[attack] == there.accuracy[attack]


def test_clean_verdicts_are_always_made_and_shown(run, tmp_path, capsys):
    file = run / "seed-0" / "dense" / "last.safetensors"
    main(["evaluate", str(file), "--attacks", "fgsm", "fgsm", "--limit", "20", "--split", "val"])
    rows = pd.read_csv(out(capsys)[-1])
    rows = rows[(rows.n == 20) & (rows.checkpoint == "last")]
    assert list(rows.attack) == ["clean", "fgsm", "worst-case(clean fgsm)"]
    ledger = json.loads((file.parent / "evaluate-last.ledger.json").read_text())
    checks = max(file.parent.glob("sanity-last-*.json"), key=lambda path: path.stat().st_mtime_ns)
    attacked = rows.forwards[rows.attack != "worst-case(clean fgsm)"].sum()
    checked = json.loads(checks.read_text())["passes"]["forward"]
    assert ledger["passes"]["attack"]["forward"] == attacked + checked


def test_a_link_stands_for_the_checkpoint_that_it_names(run, tmp_path, capsys):
    link = tmp_path / "link.safetensors"
    link.symlink_to(run / "seed-0" / "dense" / "last.safetensors")
    main(["evaluate", str(link), "--attacks", "clean", "--limit", "10"])
    assert out(capsys)[-1] == str(run / "seed-0" / "dense" / "robustness.csv")
    assert list(tmp_path.iterdir()) == [link]


def test_the_first_stage_of_a_process_is_not_charged_for_what_pytorch_imports(recipe_file, tmp_path):
    """Everything that a first optimiser step imports is there before a ledger begins."""
    code = (
        "import sys; from robust_tickets.base.machine import Machine; "
        "from robust_tickets.base.progress import SilentProgress; "
        "from robust_tickets.recipe.fields import Compute; "
        "Machine('cpu', SilentProgress()).prepare(Compute(threads=1)); "
        "before = set(sys.modules); from robust_tickets.cli.main import main; "
        f"main(['train', '--recipe', {str(recipe_file)!r}, '--runs', {str(tmp_path)!r}]); "
        "sys.exit(any(name.startswith('torch._') for name in set(sys.modules) - before))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_figures_on_other_images_stay_out_of_the_run(run, tmp_path, capsys, monkeypatch):
    load = Experiment.load
    monkeypatch.setattr(Experiment, "load", lambda *a: replace(load(*a), fingerprint="f" * 16))
    file = run / "seed-0" / "dense" / "best.safetensors"
    before = (file.parent / "robustness.csv").read_bytes()
    main(["evaluate", str(file), "--runs", str(tmp_path), "--limit", "50"])
    assert out(capsys)[-1].startswith(str(tmp_path))
    assert (file.parent / "robustness.csv").read_bytes() == before


def test_arms_on_different_images_make_no_table(run, tmp_path, capsys):
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    about = copy / "seed-1" / "dense" / "arm.json"
    about.write_text(about.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(SystemExit, match="2"):
        main(["table", str(copy)])
    assert "different images" in capsys.readouterr().err


def test_a_finished_arm_without_its_weights_says_so(run, recipe_file, tmp_path, capsys):
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    (copy / "seed-0" / "dense" / "best.safetensors").unlink()
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--recipe", str(recipe_file), "--runs", str(tmp_path)])
    assert "best.safetensors is gone" in capsys.readouterr().err


def test_a_finished_arm_that_lacks_a_file_is_named(run, recipe_file, tmp_path, capsys):
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    file = copy / "seed-0" / "dense" / "metrics.jsonl"
    file.unlink()
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "--recipe", str(recipe_file), "--runs", str(tmp_path)])
    assert f"there is no {file}: remove {file.parent} and run compare again" in capsys.readouterr().err


def test_dry_run_trains_nothing_and_says_what_it_would_cost(recipe_file, tmp_path, capsys):
    main(["compare", "--recipe", str(recipe_file), "--runs", str(tmp_path), "--dry-run"])
    text = capsys.readouterr().out
    assert all(arm in text for arm in [*ARMS, "search"])
    assert "minutes" in text
    assert not list(tmp_path.iterdir())


def test_progress_goes_to_stderr_as_lines(recipe_file, tmp_path, capsys):
    main(["search", "--recipe", str(recipe_file), "--runs", str(tmp_path), "--search.rounds", "1"])
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "epoch 1/2  clean " in captured.err
    assert "passes/s" in captured.err
    assert "left" in captured.err
    records = [
        json.loads(x) for x in Path(captured.out.strip()).with_name("metrics.jsonl").read_text().splitlines()
    ]
    assert [r["epoch"] for r in records] == [1, 2]
