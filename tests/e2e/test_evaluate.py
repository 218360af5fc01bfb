"""`evaluate` on a trained network: its output and its files, recomputed from the verdict matrix."""

import json
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from robust_tickets.attacks import Attack
from robust_tickets.cli.main import main
from robust_tickets.data import dataset, load
from robust_tickets.evaluation.robustness_csv import COLUMNS
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.eps import Eps
from robust_tickets.recipe.fields import Data, Threat
from robust_tickets.recipe.training_fields import Train
from robust_tickets.stages import evaluate as evaluate_stage
from robust_tickets.stages import experiment
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.methods.pgd import PGDSettings

SEVERAL = ["fgsm", "pgd(steps=3, restarts=2, loss='margin')", "square(queries=20)"]
SEVERAL += ["torchattacks:CW(c=1, steps=3)"]
LENET = ["--model.name", "lenet-300-100", "--model.width", "0.2", "--data.name", "digits"]


@pytest.fixture(scope="module")
def trained(tiny_recipe, tmp_path_factory) -> Path:
    """Runs of two seeds, trained without an adversary, for a threat of 16/255."""
    folder = tmp_path_factory.mktemp("trained")
    plain = Train(method="natural", pgd=PGDSettings(steps=1), epochs=3, batch=32, lr=0.1)
    images = Data("digits", train_images=800, val_images=40)
    recipe = replace(tiny_recipe, data=images, threat=Threat(Eps("16/255")), train=plain)
    (folder / "tiny.toml").write_text(recipes.to_toml(recipe))
    for seed in ("0", "1"):
        main(["train", "--recipe", str(folder / "tiny.toml"), "--runs", str(folder / "runs"), "--seed", seed])
    return folder / "runs"


@pytest.fixture
def files(trained, tmp_path) -> list[Path]:
    """The checkpoints of the two seeds, in run directories of their own for each test."""
    shutil.copytree(trained, tmp_path / "runs")
    return sorted((tmp_path / "runs").glob("*/seed-*/dense/best.safetensors"))


@pytest.fixture
def evaluate(capsys):
    """Evaluate a file; returns the output, and the robustness.csv that its last line names."""

    def run(file, *words):
        capsys.readouterr()
        main(["evaluate", str(file), *map(str, words)])
        output = capsys.readouterr().out
        return output, pd.read_csv(output.splitlines()[-1], dtype={"eps": str}, keep_default_na=False)

    return run


def matrix(folder: Path) -> dict[str, np.ndarray]:
    (file,) = folder.glob("verdicts-*.npz")
    with np.load(file) as arrays:
        return dict(arrays)


def test_each_row_follows_from_the_matrix(files, evaluate):
    _, rows = evaluate(files[0], "--attacks", *SEVERAL, "--limit", 60)
    arrays = matrix(files[0].parent)
    names = ["clean", *SEVERAL]
    assert list(rows.columns) == COLUMNS
    assert list(rows.attack) == [*names, f"worst-case({' '.join(names)})"]
    assert list(arrays["attacks"]) == names
    assert list(arrays["settings"]) == list(rows.settings)[:-1]
    assert set(np.unique(arrays["verdicts"])) == {0, 1}
    whole = np.c_[arrays["verdicts"], arrays["verdicts"].min(1)] == 1
    assert 0 < whole[:, -1].sum() < whole[:, 0].sum()
    for row, right in zip(rows.itertuples(), whole.T, strict=True):
        assert row.accuracy == pytest.approx(right.mean())
        shares = [right[arrays["labels"] == k].mean() for k in range(10)]
        assert json.loads(row.by_class) == pytest.approx(shares, abs=1e-6)
        assert row.low < row.accuracy < row.high
        assert (row.eps, row.norm, row.n, row.split) == ("16/255", "Linf", 60, "test")
        assert row.clean == rows.accuracy[0]
    for column in ("forwards", "backwards"):
        assert list(rows[column][:-1]) == arrays[column].tolist()
        assert rows[column].iloc[-1] == arrays[column].sum()
    assert rows.seconds.iloc[-1] == pytest.approx(arrays["seconds"].sum(), abs=1e-3)
    assert (rows.backwards[[1, 2]] > 0).all()
    assert rows.backwards[3] == 0  # square asks for no gradients
    assert "restarts=2 loss='margin'" in rows.settings[2]


def test_without_sanity_checks_only_those_of_the_rows_are_there(files, evaluate):
    output, rows = evaluate(files[0], "--limit", 30, "--sanity", "off")
    assert "FGSM is no stronger than PGD" in output
    assert "random noise" not in output
    assert len(rows) == 4
    assert not list(files[0].parent.glob("sanity-*"))
    whole, _ = evaluate(files[0], "--limit", 30)
    assert "random noise" in whole


def test_the_threads_are_chosen_or_those_of_the_training(files, evaluate, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    for words in (("--threads", 3), ()):
        evaluate(files[0], "--attacks", "clean", "--limit", 10, "--sanity", "off", *words)
    assert [chosen[0], chosen[-1]] == [3, 1]


def test_people_can_read_the_output(files, evaluate):
    output, rows = evaluate(files[0], "--attacks", *SEVERAL, "--limit", 60)
    table, checks, file = output.split("\n\n")
    lines = [line for line in table.splitlines() if not line.startswith("outside: ")]
    assert [line[: len(SEVERAL[1])].rstrip() for line in lines[1:]] == ["clean", *SEVERAL, "worst case"]
    for line, row in zip(lines[1:], rows.itertuples(), strict=True):
        assert f"16/255 60  {100 * row.accuracy:.2f} %" in line
        assert f"{100 * row.low:.1f} to {100 * row.high:.1f}" in line
    assert max(map(len, lines)) < 120
    assert checks.startswith("sanity checks, on 60 of the images:")
    marks = [line for line in checks.splitlines()[1:] if not line.startswith(" ")]
    assert all(line.startswith(("pass  ", "WARN  ")) for line in marks)
    assert len(marks) >= 7
    assert file.strip() == str(files[0].with_name("robustness.csv"))


def test_several_eps_give_rows_and_a_curve(files, evaluate):
    eps = ["16/255", "2/255", "64/255", "4/255"]
    output, rows = evaluate(files[0], "--eps", *eps, "--limit", 30, "--attacks", "fgsm", "pgd-8")
    ascending = ["2/255", "4/255", "16/255", "64/255"]
    assert list(rows.eps) == [each for each in ascending for _ in range(4)]
    worst = rows[rows.attack.str.startswith("worst-case(")]
    assert list(worst.accuracy) == sorted(worst.accuracy, reverse=True)
    assert worst.accuracy.iloc[0] > worst.accuracy.iloc[-1]
    assert "robust accuracy falls as eps grows" in output
    assert all(f"FGSM is no stronger than PGD at {each}" in output for each in ascending)
    (curve,) = files[0].parent.glob("robustness-best-*.svg")
    assert output.splitlines()[-2] == str(curve)
    text = {element.text for element in ElementTree.parse(curve).iter() if element.text}
    assert {"clean", "fgsm", "pgd-8", "worst case", *ascending} <= text
    assert len(list(files[0].parent.glob("verdicts-best-*.npz"))) == 4


def test_two_spellings_of_an_eps_are_one_point(files, evaluate):
    _, rows = evaluate(files[0], "--eps", "1/2", "0.5", "--limit", 10, "--attacks", "clean")
    assert list(rows.eps) == ["1/2"]
    assert not list(files[0].parent.glob("*.svg"))


def test_a_second_call_runs_nothing_and_prints_the_same(files, evaluate, monkeypatch):
    words = ["--attacks", *SEVERAL, "--limit", 30, "--eps", "8/255", "16/255"]
    output, _ = evaluate(files[0], *words)
    before = {path.name: path.read_bytes() for path in files[0].parent.iterdir()}

    def rerun(*arguments, **options):
        raise AssertionError("it ran again")

    monkeypatch.setattr(Attack, "run", rerun)
    monkeypatch.setattr("robust_tickets.evaluation.evaluate.Blocks", rerun)
    monkeypatch.setattr("robust_tickets.stages.evaluation_run.run_sanity_checks", rerun)
    again, _ = evaluate(files[0], *words)
    assert again == output  # seconds included
    assert {path.name: path.read_bytes() for path in files[0].parent.iterdir()} == before


@pytest.mark.parametrize("evaluated", [False, True])
def test_images_are_saved_for_each_attack_and_eps(files, evaluate, tmp_path, evaluated):
    words = ["--limit", 20, "--eps", "8/255", "16/255", "--attacks", *SEVERAL]
    if evaluated:
        evaluate(files[0], *words, "apgd(steps=2)")
    _, rows = evaluate(files[0], *words, "--save-images", tmp_path / "images")
    test = load.load(Data("digits")).test
    originals = dict(zip(test.ids.tolist(), test.images.numpy(), strict=True))
    plain = ["fgsm", "pgd-steps-3-restarts-2-loss-margin", "square-queries-20", "torchattacks-CW-c-1-steps-3"]
    for eps in ("8/255", "16/255"):
        folder = tmp_path / "images" / f"eps-{eps.replace('/', '-')}"
        assert {path.stem for path in folder.glob("*.npz")} == set(plain)
        accuracy = rows[rows.eps == eps].set_index("attack").accuracy
        for attack, name in zip(SEVERAL, plain, strict=True):
            with np.load(folder / f"{name}.npz") as saved:
                assert len(saved["ids"]) == round(20 * accuracy["clean"])
                assert (~saved["broken"]).sum() == round(20 * accuracy[attack])
                assert (saved["originals"] == [originals[number] for number in saved["ids"].tolist()]).all()
                change = np.abs(saved["images"] - saved["originals"] / 255).max()
            assert 0 < change <= Eps(eps).value + 1e-6 or name.startswith("torchattacks")
            assert len(list((folder / name).glob("*.png"))) == round(20 * accuracy["clean"])
    with np.load(next(files[0].parent.glob("verdicts-*.npz"))) as arrays:
        assert ("apgd(steps=2)" in arrays["attacks"]) == evaluated  # other columns are kept


def test_images_of_another_network_are_evaluated(files, evaluate):
    words = ["--attacks", "fgsm", "pgd-5", "--limit", 60]
    _, own = evaluate(files[0], *words)
    _, both = evaluate(files[0], *words, "--from", files[1])
    transfer = both[both.source != ""].set_index("attack")
    own = own.set_index("attack")
    assert len(both) == 8  # the white-box rows are kept
    assert transfer.source.nunique() == 1
    assert len(transfer.source.iloc[0]) == 16
    assert transfer.accuracy["clean"] == own.accuracy["clean"]
    assert transfer.accuracy["pgd-5"] >= own.accuracy["pgd-5"]
    assert transfer.accuracy["fgsm"] < 1


@pytest.mark.parametrize(("prefix", "kind"), [("", "pt"), ("module.", "pt"), ("model.", "safetensors")])
def test_published_weights_are_evaluated_as_ours(files, evaluate, tmp_path, prefix, kind):
    _, ours = evaluate(files[0], "--attacks", "fgsm", "--limit", 30)
    state = Checkpoint.load(files[0]).state
    state = {prefix + name: t for name, t in state.items() if not name.startswith("normalise.")}
    file = tmp_path / f"theirs.{kind}"
    save_file(state, file) if kind == "safetensors" else torch.save(state, file)
    words = [*LENET, "--eps", "16/255", "--attacks", "fgsm", "--limit", 30, "--runs", tmp_path / "other"]
    output, theirs = evaluate(file, *words, "--normalise", "digits")
    assert list(theirs.accuracy) == list(ours.accuracy)
    assert set(theirs.checkpoint) == {"theirs"}
    numbers = ",".join(str(value[0]) for value in (dataset.SPECS["digits"].mean, dataset.SPECS["digits"].std))
    assert evaluate(file, *words, "--normalise", numbers)[1].accuracy.equals(theirs.accuracy)
    raw, _ = evaluate(file, *words)
    assert raw.splitlines()[-1] != output.splitlines()[-1]  # another normalisation is another network


def test_either_network_of_a_transfer_may_be_published(files, evaluate, tmp_path):
    words = ["--attacks", "fgsm", "--limit", 30, "--eps", "16/255"]
    weights = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for file, checkpoint in zip(weights, files, strict=True):
        state = Checkpoint.load(checkpoint).state
        torch.save({n: t for n, t in state.items() if not n.startswith("normalise.")}, file)
    expected = evaluate(files[0], *words, "--from", files[1])[1].accuracy.tail(3).tolist()
    source = [word.replace("--model", "--from-model") for word in LENET[:-2]]
    calls = (
        [files[0], "--from", weights[1], *source, "--from-model.normalise", "digits", *LENET[-2:]],
        [weights[0], "--from", files[1], *LENET, "--normalise", "digits"],
        [weights[0], "--from", weights[1], *LENET, "--normalise", "digits"],
    )
    for number, call in enumerate(calls):
        fresh = ["--runs", tmp_path / str(number)]  # else verdicts of an earlier call would be read
        assert evaluate(*call, *words, *fresh)[1].accuracy.tail(3).tolist() == expected
    raw = evaluate(*calls[2], "--from-model.normalise", "none", *words, "--runs", tmp_path / "raw")[1]
    assert raw.accuracy.tail(3).tolist() != expected  # another network, so other images


def test_the_quick_set_is_the_default(files, evaluate):
    _, rows = evaluate(files[1], "--limit", 10)
    assert list(rows.attack) == ["clean", "fgsm", "pgd-20", "worst-case(clean fgsm pgd-20)"]


def test_rows_of_other_eps_and_networks_are_not_the_run_s_own(files, tiny_recipe, evaluate):
    """`compare` evaluates its arms at the recipe's eps, whatever rows on as many images there are."""
    words = ["--limit", 50, "--runs", files[0].parents[3]]
    evaluate(files[0], *words, "--eps", "1/255")
    evaluate(files[0], *words, "--from", files[1])
    recipe = recipes.load(str(files[0].parents[2] / "recipe.toml"))
    file = evaluate_stage.evaluate(files[0], experiment.Experiment(recipe))
    rows = pd.read_csv(file, dtype={"eps": str}, keep_default_na=False)
    assert len(rows[(rows.eps == "16/255") & (rows.source == "") & (rows.n == 50)]) == 4
