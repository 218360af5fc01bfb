"""The whole job on a tiny recipe, from the command line, and what is done with its results."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quick_comparison import quick_comparisons

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
    (folder,) = runs.iterdir()
    return folder


@pytest.fixture
def copied_run(run, tmp_path) -> Path:
    return shutil.copytree(run, tmp_path / run.name)


@pytest.fixture
def call(recipe_file, capsys):
    """Run a command, with the recipe where it takes one; gives its last line, and all of its output."""

    def run_command(words: str, whole: bool = False) -> str:
        main(words.replace("RECIPE", f"--recipe {recipe_file}").split())
        output = capsys.readouterr().out
        return output if whole else output.splitlines()[-1]

    return run_command


@pytest.fixture
def refused(call, capsys):
    """Run a wrong command; gives its message."""

    def run_command(words: str) -> str:
        with pytest.raises(SystemExit, match="2"):
            call(words)
        return capsys.readouterr().err.splitlines()[-1]

    return run_command


def test_a_comparison_writes_its_files(run):
    assert {p.name for p in run.iterdir()} == {
        "recipe.toml", "env.json", "inputs.json", "timing.csv", "timing.md", "curves.svg", "seed-0", "seed-1",
        ".lock", "boosting.csv", "boosting.md", "frontier.csv", "frontier.md", "frontier.svg", "report.html",
        "epochs.svg", "phases.svg", "layers.svg", "mask-distance.svg",
    }  # fmt: skip
    names = {"best.safetensors", "last.safetensors", "metrics.jsonl", "ledger.json", "robustness.csv"}
    for seed in (run / "seed-0", run / "seed-1"):
        assert {p.name for p in seed.iterdir()} == {*ARMS, "search"}
        assert all(names <= {p.name for p in (seed / arm).iterdir()} for arm in ARMS)
    assert not list(run.rglob("*.part"))


def test_the_timing_table_has_its_columns_and_adds_up(run):
    table = pd.read_csv(run / "timing.csv")
    assert list(table.columns) == COLUMNS
    assert list(table.arm) == ARMS
    assert (table.seeds == 2).all()
    row = table.set_index("arm")
    assert row.total_s.to_numpy() == pytest.approx((row.search_s + row.train_s).to_numpy(), rel=1e-4)
    assert [arm for arm in ARMS if row.search_s[arm] > 0] == ["ticket"]
    assert row.flops_vs_dense["dense-short"] == pytest.approx(2 / 3, rel=1e-5)
    assert (row.clean_mean >= row.fgsm_mean).all()
    assert row.density["ticket"] < 0.3 < row.density["dense"] == 1


def test_a_second_call_trains_nothing_and_says_so_once(run, recipe_file, capsys):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    main(["compare", "--recipe", str(recipe_file), "--runs", str(run.parent), "--seeds", "2"])
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == str(run)
    finished = [run / f"seed-{seed}" / arm for seed in (0, 1) for arm in (*ARMS, "search/ticket.safetensors")]
    assert sorted(err.splitlines()) == sorted(f"already done: {path}" for path in finished)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")} == before


def test_quiet_prints_the_path_alone_and_verbose_the_whole_table_too(run, recipe_file, capsys, refused):
    words = ["compare", "--recipe", str(recipe_file), "--runs", str(run.parent), "--seeds", "2"]
    main([*words, "--quiet"])
    assert capsys.readouterr() == (f"{run}\n", "")
    main(words)
    usual = capsys.readouterr().out
    main([*words, "--verbose"])
    whole = capsys.readouterr().out
    table = (run / "timing.md").read_text()
    assert whole == f"{table}\n{usual}"
    assert "| dense |" not in usual
    message = refused(f"compare RECIPE --runs {run.parent} --quiet --verbose")
    assert "--quiet and --verbose exclude each other: give one" in message


def test_search_train_and_compare_share_one_folder(run, call):
    ticket = run / "seed-0" / "search" / "ticket.safetensors"
    assert call(f"search RECIPE --runs {run.parent}") == str(ticket)
    assert call(f"train RECIPE --runs {run.parent} --ticket {ticket}") == str(run / "seed-0" / "ticket")
    assert call(f"train RECIPE --runs {run.parent}") == str(run / "seed-0" / "dense")


def test_the_ticket_of_another_seed_is_an_arm_of_its_own(run, call):
    ticket = run / "seed-1" / "search" / "ticket.safetensors"
    folder = Path(call(f"train RECIPE --runs {run.parent} --ticket {ticket}"))
    assert folder.parent == run / "seed-0"
    assert folder.name.startswith("ticket-")


def test_the_same_recipe_gives_the_same_bits(run, call, tmp_path):
    with quick_comparisons(report=True):  # the command prints the table
        call(f"compare RECIPE --runs {tmp_path}")
    for arm in ARMS:
        for name in ("metrics.jsonl", "best.safetensors", "last.safetensors"):
            one, other = (folder / "seed-0" / arm / name for folder in (tmp_path / run.name, run))
            assert one.read_bytes() == other.read_bytes(), (arm, name)


def test_the_table_is_made_again_from_the_files(run, call, tmp_path):
    for form, file in (("markdown", "timing.md"), ("csv", "timing.csv")):
        assert call(f"table {run} --format {form}", whole=True) == (run / file).read_text()
    assert call(f"table {run} --format csv --out {tmp_path}/t.csv") == str(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == (run / "timing.csv").read_text()


def test_a_checkpoint_outside_its_run_has_the_same_accuracy(run, call, tmp_path):
    file = shutil.copy(run / "seed-0" / "ticket" / "last.safetensors", tmp_path / "model.safetensors")
    words = f"evaluate {file} --runs {tmp_path}/runs --attacks clean fgsm pgd-20 --limit 50"
    rows = pd.read_csv(call(words)).set_index("attack")
    expected = pd.read_csv(run / "seed-0" / "ticket" / "robustness.csv")
    expected = expected[(expected.checkpoint == "last") & (expected.n == 50)].set_index("attack")
    for attack in ("clean", "fgsm", "pgd-20", "worst-case(clean fgsm pgd-20)"):
        assert rows.accuracy[attack] == expected.accuracy[attack]


def test_clean_accuracy_is_always_measured_and_every_pass_counted(run, call):
    file = run / "seed-0" / "dense" / "last.safetensors"
    rows = pd.read_csv(call(f"evaluate {file} --attacks fgsm fgsm --limit 20 --split val"))
    rows = rows[(rows.n == 20) & (rows.checkpoint == "last")]
    assert list(rows.attack) == ["clean", "fgsm", "worst-case(clean fgsm)"]
    ledger = json.loads((file.parent / "evaluate-last.ledger.json").read_text())
    checks = max(file.parent.glob("sanity-last-*.json"), key=lambda path: path.stat().st_mtime_ns)
    checked = json.loads(checks.read_text())["passes"]["forward"]
    assert ledger["passes"]["attack"]["forward"] == rows.forwards.iloc[:2].sum() + checked


def test_a_link_counts_as_the_checkpoint_that_it_names(run, call, tmp_path):
    link = tmp_path / "link.safetensors"
    link.symlink_to(run / "seed-0" / "dense" / "last.safetensors")
    words = f"evaluate {link} --attacks clean --limit 10"
    assert call(words) == str(run / "seed-0" / "dense" / "robustness.csv")
    assert list(tmp_path.iterdir()) == [link]


def test_no_arm_is_charged_for_what_pytorch_imports(recipe_file, tmp_path):
    """All that a first optimiser step imports is there before a ledger begins."""
    code = (
        "import sys; from robust_tickets.base.machine import Machine; "
        "from robust_tickets.base.progress import SilentProgress; "
        "Machine('cpu', SilentProgress()).prepare(1); "
        "before = set(sys.modules); from robust_tickets.cli.main import main; "
        f"main(['train', '--recipe', {str(recipe_file)!r}, '--runs', {str(tmp_path)!r}]); "
        "sys.exit(any(name.startswith('torch._') for name in set(sys.modules) - before))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_rows_on_other_images_stay_out_of_the_run(run, call, tmp_path, monkeypatch):
    load = Experiment.load
    monkeypatch.setattr(Experiment, "load", lambda *a: replace(load(*a), fingerprint="f" * 16))
    file = run / "seed-0" / "dense" / "best.safetensors"
    before = file.with_name("robustness.csv").read_bytes()
    assert call(f"evaluate {file} --runs {tmp_path} --limit 50").startswith(str(tmp_path))
    assert file.with_name("robustness.csv").read_bytes() == before


def test_arms_on_different_images_make_no_table(copied_run, refused):
    file = copied_run / "seed-1" / "dense" / "arm.json"
    file.write_text(file.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    assert "different images" in refused(f"table {copied_run}")


@pytest.mark.parametrize(("command", "name"), [("train", "best.safetensors"), ("compare", "metrics.jsonl")])
def test_a_missing_file_of_a_finished_arm_is_named(command, name, copied_run, refused):
    folder = copied_run / "seed-0" / "dense"
    (folder / name).unlink()
    message = refused(f"{command} RECIPE --runs {copied_run.parent}")
    assert str(folder) in message
    assert name in message


def test_progress_goes_to_stderr_in_lines(recipe_file, tmp_path, capsys):
    main(["search", "--recipe", str(recipe_file), "--runs", str(tmp_path), "--search.rounds", "1"])
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert all(part in captured.err for part in ("epoch 1/2  clean ", "passes/s", "left"))
    metrics = Path(captured.out.strip()).with_name("metrics.jsonl").read_text()
    assert [json.loads(line)["epoch"] for line in metrics.splitlines()] == [1, 2]


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_every_stage_keeps_to_the_norm_of_the_recipe(norm, call, tmp_path):
    words = f"--runs {tmp_path}/runs --threat.norm {norm} --threat.eps 1/2 --train.epochs 1"
    folder = Path(call(f"train RECIPE {words}"))
    call(f"evaluate {folder}/best.safetensors --save-images {tmp_path}/images")
    rows = pd.read_csv(folder / "robustness.csv")
    assert set(rows.norm) == {norm}
    assert set(rows.eps) == {"1/2"}
    for name in ("fgsm", "pgd-20"):
        with np.load(tmp_path / "images" / f"{name}.npz") as saved:
            images, originals = saved["images"], saved["originals"] / 255
        change = (images - originals).reshape(len(images), -1)
        length = np.abs(change).max(1) if norm == "Linf" else np.linalg.norm(change, axis=1)
        assert 0.25 < length.max() <= 0.5 + 1e-5
        assert 0 <= images.min() <= images.max() <= 1


def test_another_eps_gives_other_rows_and_the_same_table(run, call):
    accuracy = {}
    for eps in ("1/255", "100/255"):
        words = f"--threat.eps {eps} --limit 60 --attacks pgd-5"
        rows = pd.read_csv(call(f"evaluate {run}/seed-0/dense/best.safetensors {words}"), dtype={"eps": str})
        accuracy[eps] = rows[(rows.eps == eps) & (rows.attack == "pgd-5")].accuracy.item()
    assert accuracy["1/255"] > accuracy["100/255"]
    assert call(f"table {run}", whole=True) == (run / "timing.md").read_text()


def test_the_latex_table_has_the_numbers_of_the_markdown_one(run, call):
    table = call(f"table {run}", whole=True).splitlines()
    rows = [line.strip("| ").split(" | ") for line in table if line.startswith("|")]
    text = call(f"table {run} --format latex", whole=True)
    body = text[text.index("midrule") : text.index("bottomrule")]
    plain = re.sub(r"\\pm", "±", body).replace("$", "").replace("\\%", "%")
    cells = [line.removesuffix(r" \\").split(" & ") for line in plain.splitlines() if " & " in line]
    assert cells == rows[2:]
    assert text.count("{") == text.count("}")
    caption = text[text.index("caption{") : text.index(r"\label")]
    assert not re.search(r"(?<!\\)[%_#&$^~]", caption.replace(r"$\pm$", ""))


def test_runs_are_listed_and_removed_with_yes_only(copied_run, call):
    line = call(f"runs list --runs {copied_run.parent}")
    assert line.split()[:7] == [copied_run.name, "0", "1", "8", "of", "8", "arms"]
    assert "--yes" in call(f"runs rm {copied_run}")
    assert (copied_run / "timing.csv").is_file()
    call(f"runs rm {copied_run} --yes")
    assert not copied_run.exists()


def test_only_decoded_images_are_cleared_from_the_cache(call, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "robust-tickets"
    (folder / "torchvision" / "MNIST").mkdir(parents=True)
    (folder / "cifar10-0123.safetensors").write_bytes(b"x" * 2_000_000)
    assert "removed 1 files (2.0 MB)" in call("cache clear")
    assert [p.name for p in folder.iterdir()] == ["torchvision"]
    assert "removed 0 files" in call("cache clear")
