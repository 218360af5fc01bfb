"""What is done with results: other threat models, saved images, LaTeX tables, removal of runs and cache."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robust_tickets.cli.main import main
from robust_tickets.recipe import recipe as recipes


@pytest.fixture(scope="module")
def recipe_file(tiny_recipe, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    file.write_text(recipes.to_toml(tiny_recipe))
    return file


@pytest.fixture(scope="module")
def run(recipe_file, tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = "--compare.arms dense ticket --search.epochs 1 --train.epochs 1 --train.ticket-epochs 1"
    main(["compare", "--recipe", str(recipe_file), "--runs", str(runs), *words.split()])
    (folder,) = runs.iterdir()
    return folder


@pytest.fixture
def call(capsys):
    """Run a command; gives the lines that it prints."""

    def run_command(words: str) -> list[str]:
        main(words.split())
        return capsys.readouterr().out.splitlines()

    return run_command


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_every_stage_keeps_to_the_norm_of_the_recipe(norm, recipe_file, call, tmp_path):
    words = f"--runs {tmp_path}/runs --threat.norm {norm} --threat.eps 1/2 --train.epochs 1"
    folder = Path(call(f"train --recipe {recipe_file} {words}")[-1])
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
        file = call(f"evaluate {run}/seed-0/dense/best.safetensors {words}")[-1]
        rows = pd.read_csv(file, dtype={"eps": str})
        accuracy[eps] = rows[(rows.eps == eps) & (rows.attack == "pgd-5")].accuracy.item()
    assert accuracy["1/255"] > accuracy["100/255"]
    assert call(f"table {run}") == (run / "timing.md").read_text().splitlines()


def test_the_latex_table_has_the_numbers_of_the_markdown_one(run, call):
    rows = [line.strip("| ").split(" | ") for line in call(f"table {run}") if line.startswith("|")]
    text = "\n".join(call(f"table {run} --format latex"))
    body = text[text.index("midrule") : text.index("bottomrule")]
    plain = re.sub(r"\\pm", "±", body).replace("$", "").replace("\\%", "%")
    assert [line.removesuffix(r" \\").split(" & ") for line in plain.splitlines() if " & " in line] == rows[
        2:
    ]
    assert text.count("{") == text.count("}")
    caption = text[text.index("caption{") : text.index(r"\label")]
    assert not re.search(r"(?<!\\)[%_#&$^~]", caption.replace(r"$\pm$", ""))


def test_runs_are_listed_and_removed_with_yes_only(run, call, tmp_path):
    path = shutil.copytree(run, tmp_path / "runs" / run.name)
    line = call(f"runs list --runs {path.parent}")[-1]
    assert line.split()[:6] == [run.name, "0", "2", "of", "2", "arms"]
    assert "--yes" in call(f"runs rm {path}")[-1]
    assert (path / "timing.csv").is_file()
    call(f"runs rm {path} --yes")
    assert not path.exists()


def test_only_decoded_images_are_cleared_from_the_cache(call, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "robust-tickets"
    (folder / "torchvision" / "MNIST").mkdir(parents=True)
    (folder / "cifar10-0123.safetensors").write_bytes(b"x" * 2_000_000)
    assert "removed 1 files (2.0 MB)" in call("cache clear")[-1]
    assert [p.name for p in folder.iterdir()] == ["torchvision"]
    assert "removed 0 files" in call("cache clear")[-1]
