"""What is done with results: other threat models, saved images, LaTeX tables, removal of runs and cache."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from robust_tickets.cli.main import main
from robust_tickets.data.dataset import SPECS
from robust_tickets.data.load import load
from robust_tickets.models import registry
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data
from robust_tickets.stages.experiment import model_spec
from robust_tickets.training.checkpoint import Checkpoint


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


def test_saved_images_are_those_of_the_verdicts(run, call, tmp_path, capsys):
    file = run / "seed-0" / "dense" / "best.safetensors"
    words = f"evaluate {file} --save-images {tmp_path}/images --limit 40"
    call(words)
    with pytest.raises(SystemExit, match="2"):  # images of two evaluations would be mixed
        call(words)
    assert "not empty" in capsys.readouterr().err
    net = Checkpoint.load(file).net()
    rows = pd.read_csv(file.with_name("robustness.csv"))
    accuracy = rows[(rows.checkpoint == "best") & (rows.n == 40)].set_index("attack").accuracy
    test = load(Data("digits")).test
    originals = dict(zip(test.ids.tolist(), test.images, strict=True))
    for attack in ("fgsm", "pgd-20"):
        with np.load(tmp_path / "images" / f"{attack}.npz") as arrays:
            saved = dict(arrays)
        assert len(saved["ids"]) == round(40 * accuracy["clean"])  # misclassified images are not attacked
        assert (~saved["broken"]).sum() == round(40 * accuracy[attack])
        wrong = net(torch.from_numpy(saved["images"])).argmax(1).numpy() != saved["labels"]
        assert (wrong == saved["broken"]).mean() > 0.95  # the folded network, which was attacked, rounds
        pictures = sorted((tmp_path / "images" / attack).iterdir())
        assert len(pictures) == len(saved["ids"])
        rows_of = (saved[name] for name in ("ids", "images", "originals", "labels"))
        for number, image, original, label in zip(*rows_of, strict=True):
            assert np.array_equal(original, originals[int(number)].numpy())
            (picture,) = (p for p in pictures if p.name.startswith(f"{number:06}-label-{label}"))
            assert np.array_equal(np.asarray(Image.open(picture)), np.rint(image[0] * 255))


def test_published_weights_are_evaluated_by_the_names_on_the_command_line(tiny_recipe, call, tmp_path):
    net = registry.build(model_spec(tiny_recipe, SPECS["digits"]), seed=3)
    state = {f"module.{n}": t for n, t in net.state_dict().items() if not n.startswith("normalise.")}
    torch.save({"state_dict": state}, tmp_path / "theirs.pt")
    words = f"evaluate {tmp_path}/theirs.pt --runs {tmp_path} --data.name digits --attacks clean"
    words += " --model.name lenet-300-100 --model.width 0.2"
    file = call(f"{words} --model.normalise digits")[-1]
    test = load(Data("digits")).test
    right = net.eval()(test.images / 255).argmax(1) == test.labels
    assert pd.read_csv(file).accuracy[0] == pytest.approx(float(right.double().mean()))
    assert call(words)[-1] != file  # another network, as it sees other images


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


def test_runs_are_listed_and_removed_with_yes_only(run, call, tmp_path, capsys):
    runs, mine = tmp_path / "runs", tmp_path / "mine"
    shutil.copytree(run, runs / run.name)
    (runs / "other").mkdir()
    _, line = call(f"runs list --runs {runs}")
    assert line.split()[:2] == [run.name, "0"]
    assert "2 of 2 arms" in line
    mine.mkdir()
    shutil.copy(run / "recipe.toml", mine)  # a user's own recipe
    with pytest.raises(SystemExit, match="2"):
        call(f"runs rm {mine} --yes")
    assert "no run directory" in capsys.readouterr().err
    assert (mine / "recipe.toml").is_file()
    assert "--yes" in call(f"runs rm {runs / run.name}")[-1]
    assert (runs / run.name / "timing.csv").is_file()
    call(f"runs rm {runs / run.name} --yes")
    assert [p.name for p in runs.iterdir()] == ["other"]
    assert "no run directories" in call(f"runs list --runs {runs}")[-1]


def test_only_decoded_images_are_cleared_from_the_cache(call, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "robust-tickets"
    (folder / "torchvision" / "MNIST").mkdir(parents=True)
    (folder / "cifar10-0123.safetensors").write_bytes(b"x" * 2_000_000)
    assert "removed 1 files (2.0 MB)" in call("cache clear")[-1]
    assert [p.name for p in folder.iterdir()] == ["torchvision"]
    assert "removed 0 files" in call("cache clear")[-1]
