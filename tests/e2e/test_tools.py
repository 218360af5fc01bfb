"""What is done with results: tables for papers, attacked images, runs and cache cleared away."""

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
def run(tiny_recipe, tmp_path_factory) -> Path:
    at = tmp_path_factory.mktemp("tools")
    (at / "tiny.toml").write_text(recipes.to_toml(tiny_recipe))
    words = "--compare.arms dense ticket --search.epochs 1 --train.epochs 1 --train.ticket-epochs 1"
    main(["compare", "--recipe", str(at / "tiny.toml"), "--runs", str(at / "runs"), *words.split()])
    (found,) = (at / "runs").iterdir()
    return found


def out(capsys) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_an_attack_in_either_norm_stays_in_its_ball_and_says_so(norm, tiny_recipe, tmp_path, capsys):
    """Search, training and evaluation in the norm of the recipe, and images that show it."""
    (tmp_path / "tiny.toml").write_text(recipes.to_toml(tiny_recipe))
    words = ["--recipe", str(tmp_path / "tiny.toml"), "--runs", str(tmp_path / "runs")]
    words += ["--threat.norm", norm, "--threat.eps", "1/2", "--train.epochs", "1"]
    main(["train", *words])
    folder = Path(out(capsys)[-1])
    images = tmp_path / "images"
    main(
        ["evaluate", str(folder / "best.safetensors"), "--save-images", str(images), "--runs", str(tmp_path)]
    )
    rows = pd.read_csv(folder / "robustness.csv")
    assert set(rows.norm) == {norm}
    assert set(rows.eps) == {"1/2"}
    for name in ("fgsm", "pgd-20"):
        found = np.load(images / f"{name}.npz")
        change = (found["images"] - found["originals"] / 255).reshape(len(found["ids"]), -1)
        length = np.abs(change).max(1) if norm == "Linf" else np.linalg.norm(change, axis=1)
        assert length.max() <= 0.5 + 1e-5
        assert length.max() > 0.25
        assert found["images"].min() >= 0
        assert found["images"].max() <= 1


def test_a_checkpoint_is_judged_in_another_ball_when_asked(run, tmp_path, capsys):
    file = str(run / "seed-0" / "dense" / "best.safetensors")
    found = {}
    for eps in ("1/255", "100/255"):
        main(["evaluate", file, "--threat.eps", eps, "--limit", "60", "--attacks", "pgd-5"])
        rows = pd.read_csv(out(capsys)[-1], dtype={"eps": str})
        found[eps] = rows[(rows.eps == eps) & (rows.attack == "pgd-5")].accuracy.item()
    assert found["1/255"] > found["100/255"]
    before = (run / "timing.md").read_text()
    main(["table", str(run)])  # which keeps to the run's own threat model
    assert capsys.readouterr().out == before


def test_saved_images_are_those_that_the_verdict_is_about(run, tmp_path, capsys):
    file = run / "seed-0" / "dense" / "best.safetensors"
    words = ["--save-images", str(tmp_path / "images"), "--runs", str(tmp_path), "--limit", "40"]
    main(["evaluate", str(file), *words])
    with pytest.raises(SystemExit, match="2"):  # pictures of two evaluations would be mixed
        main(["evaluate", str(file), *words])
    assert "not empty" in capsys.readouterr().err
    net = Checkpoint.load(file).net()
    rows = pd.read_csv(run / "seed-0" / "dense" / "robustness.csv")
    accuracy = rows[(rows.checkpoint == "best") & (rows.n == 40)].set_index("attack").accuracy
    test = load(Data("digits")).test
    originals = dict(zip(test.ids.tolist(), test.images, strict=True))
    for attack in ("fgsm", "pgd-20"):
        found = np.load(tmp_path / "images" / f"{attack}.npz")
        assert len(found["ids"]) == round(40 * accuracy["clean"])  # what was wrong before is not attacked
        assert (~found["broken"]).sum() == round(40 * accuracy[attack])
        wrong = net(torch.from_numpy(found["images"])).argmax(1).numpy() != found["labels"]
        assert (wrong == found["broken"]).mean() > 0.95  # to rounding: the folded net judged
        pictures = sorted((tmp_path / "images" / attack).iterdir())
        assert len(pictures) == len(found["ids"])
        for number, image, original, label in zip(
            found["ids"], found["images"], found["originals"], found["labels"], strict=True
        ):
            assert np.array_equal(original, originals[int(number)].numpy())
            (picture,) = (p for p in pictures if p.name.startswith(f"{number:06}-label-{label}"))
            assert np.array_equal(np.asarray(Image.open(picture)), np.rint(image[0] * 255))


def test_published_weights_are_judged_by_the_names_given(tiny_recipe, tmp_path, capsys):
    spec = model_spec(tiny_recipe, SPECS["digits"])
    net = registry.build(spec, seed=3)
    state = {f"module.{n}": t for n, t in net.state_dict().items() if not n.startswith("normalise.")}
    torch.save({"state_dict": state}, tmp_path / "theirs.pt")
    words = "--model.name lenet-300-100 --model.width 0.2 --model.normalise digits --data.name digits"
    words += " --attacks clean"
    main(["evaluate", str(tmp_path / "theirs.pt"), *words.split(), "--runs", str(tmp_path)])
    file = out(capsys)[-1]
    rows = pd.read_csv(file)
    main(["evaluate", str(tmp_path / "theirs.pt"), *words.split()[:-2], "--runs", str(tmp_path)])
    raw = words.replace("--model.normalise digits ", "")
    main(["evaluate", str(tmp_path / "theirs.pt"), *raw.split(), "--runs", str(tmp_path)])
    assert out(capsys)[-1] != file  # another net, as it sees other images
    test = load(Data("digits")).test
    right = net.eval()(test.images / 255).argmax(1) == test.labels
    assert rows.accuracy[0] == pytest.approx(float(right.double().mean()))


def test_the_latex_table_has_the_figures_of_the_markdown_one(run, capsys):
    main(["table", str(run)])
    rows = [line.strip("| ").split(" | ") for line in out(capsys) if line.startswith("|")]
    main(["table", str(run), "--format", "latex"])
    text = capsys.readouterr().out
    body = text[text.index("midrule") : text.index("bottomrule")]
    plain = re.sub(r"\\pm", "±", body).replace("$", "").replace("\\%", "%")
    latex = [line.removesuffix(r" \\").split(" & ") for line in plain.splitlines() if " & " in line]
    assert latex == rows[2:]
    assert text.count("{") == text.count("}")
    caption = text[text.index("caption{") : text.index(r"\label")]
    assert not re.search(r"(?<!\\)[%_#&$^~]", caption.replace(r"$\pm$", ""))


def test_runs_are_listed_and_removed_only_when_really_meant(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "runs" / run.name)
    (tmp_path / "runs" / "other").mkdir()
    main(["runs", "list", "--runs", str(tmp_path / "runs")])
    said = out(capsys)
    assert len(said) == 2
    assert said[1].split()[:2] == [run.name, "0"]
    assert "2 of 2 arms" in said[1]
    mine = tmp_path / "mine"  # a recipe of the user's own in a folder of theirs
    mine.mkdir()
    shutil.copy(run / "recipe.toml", mine)
    with pytest.raises(SystemExit, match="2"):
        main(["runs", "rm", str(mine), "--yes"])
    assert "no run directory" in capsys.readouterr().err
    assert (mine / "recipe.toml").is_file()
    main(["runs", "rm", str(tmp_path / "runs" / run.name)])
    assert "--yes" in out(capsys)[-1]
    assert (tmp_path / "runs" / run.name / "timing.csv").is_file()
    main(["runs", "rm", str(tmp_path / "runs" / run.name), "--yes"])
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["other"]
    main(["runs", "list", "--runs", str(tmp_path / "runs")])
    assert "no run directories" in out(capsys)[-1]


def test_only_decoded_images_are_cleared_from_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "robust-tickets" / "torchvision" / "MNIST"
    kept.mkdir(parents=True)
    (tmp_path / "robust-tickets" / "cifar10-0123.safetensors").write_bytes(b"x" * 2_000_000)
    main(["cache", "clear"])
    assert "removed 1 files (2.0 MB)" in out(capsys)[-1]
    assert [p.name for p in (tmp_path / "robust-tickets").iterdir()] == ["torchvision"]
    main(["cache", "clear"])
    assert "removed 0 files" in out(capsys)[-1]
