"""What `export --format torch` writes is evaluated from its file, and attacked after it is loaded."""

import io
import json
import os
import re
import shutil
import zipfile
from dataclasses import replace

import pandas as pd
import pytest
import torch

from robust_tickets.attacks import APGD, PGD, InputError, Square, ThreatModel
from robust_tickets.cli.main import main
from robust_tickets.data import load
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Data, Model
from robust_tickets.recipe.training_fields import Train
from robust_tickets.training.checkpoint import Checkpoint
from robust_tickets.training.program_file import load_program

ATTACKS = ("--limit", "20", "--attacks", "clean", "fgsm", "pgd(steps=3)", "square(queries=5)")
THREAT = ThreatModel("Linf", 0.1)


@pytest.fixture(scope="module")
def trained(tiny_recipe, tmp_path_factory):
    """The checkpoint of a resnet20 that was trained for a moment; its program lies beside it."""
    folder = tmp_path_factory.mktemp("programs")
    recipe = replace(
        tiny_recipe,
        data=Data("digits", train_images=200, val_images=20),
        model=Model("resnet20", width=0.5),
        train=Train(method="natural", epochs=4, batch=25, lr=0.1),
    )
    (folder / "tiny.toml").write_text(recipes.to_toml(recipe))
    main(["train", "--recipe", str(folder / "tiny.toml"), "--runs", str(folder / "runs")])
    (file,) = (folder / "runs").glob("*/seed-0/dense/best.safetensors")
    main(["export", str(file)])
    return file


def rows_of(file):
    return pd.read_csv(file).set_index("attack")


def test_it_has_the_rows_of_its_checkpoint_in_a_folder_of_its_own(trained, tmp_path, capsys):
    main(["evaluate", str(trained), *ATTACKS])
    ours = rows_of(trained.with_name("robustness.csv"))
    before = trained.with_name("robustness.csv").read_bytes()
    main(["evaluate", str(trained.with_suffix(".pt2")), *ATTACKS, "--runs", str(tmp_path)])
    (file,) = tmp_path.glob("evaluate-*/robustness.csv")
    assert capsys.readouterr().out.splitlines()[-1] == str(file)
    theirs = rows_of(file)
    assert len(theirs) == 5
    for column in ("accuracy", "n", "eps"):
        assert list(theirs[column]) == list(ours[column])
    assert theirs["accuracy"]["clean"] > theirs["accuracy"]["pgd(steps=3)"]
    assert trained.with_name("robustness.csv").read_bytes() == before


def test_its_images_break_another_network(trained, tmp_path):
    source = ("--from", str(trained.with_suffix(".pt2")))
    main(["evaluate", str(trained), *ATTACKS, *source])
    rows = rows_of(trained.with_name("robustness.csv"))
    transfers, direct = rows[rows.source.notna()].accuracy, rows[rows.source.isna()].accuracy
    assert dict(transfers) == dict(direct)


@pytest.mark.parametrize(
    "attack", [PGD(THREAT, steps=3), APGD(THREAT, steps=3), Square(THREAT, queries=10)], ids=repr
)
def test_attacks_break_it_as_the_network(trained, attack):
    test = load.load(Data("digits", train_images=200, val_images=20)).test.first(20)
    images, net = test.images / 255, Checkpoint.load(trained).net()
    program = torch.export.load(trained.with_suffix(".pt2")).module()
    ours, theirs = (attack.run(each, images, test.labels, seed=0) for each in (program, net))
    assert torch.equal(ours.broken, theirs.broken)
    torch.testing.assert_close(ours.images, theirs.images)
    assert bool(ours.broken.any())


META = "archive/extra/robust-tickets.json"
GRAPH = "archive/models/model.json"


@pytest.fixture
def changed(trained, tmp_path):
    """Writes the program again with a member of its archive replaced, or left out where that is None."""

    def change(member, content):
        target = tmp_path / "best.pt2"
        with zipfile.ZipFile(trained.with_suffix(".pt2")) as old, zipfile.ZipFile(target, "w") as new:
            assert member in old.namelist()
            for name in old.namelist():
                if name != member or content is not None:
                    new.writestr(name, content if name == member else old.read(name))
        return target

    return change


class MakeFolder:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_code_of_a_file_is_run(trained, changed, tmp_path):
    marker = tmp_path / "was-here"
    with zipfile.ZipFile(trained.with_suffix(".pt2")) as archive:
        graph = archive.read(GRAPH).decode()
    code = json.dumps(f"__import__('os').mkdir('{marker}')")
    graph, count = re.subn(r'"expr_str": "[^"]*"', lambda _: f'"expr_str": {code}', graph)
    assert count
    with pytest.raises(InputError, match="holds code besides PyTorch's operations: if you trust it"):
        load_program(changed(GRAPH, graph))
    inputs = io.BytesIO()
    torch.save(MakeFolder(marker), inputs)
    with pytest.raises(InputError, match="is damaged"):
        load_program(changed("archive/data/sample_inputs/model.pt", inputs.getvalue()))
    assert not marker.exists()


def test_other_programs_and_damaged_ones_are_named(trained, changed, tmp_path):
    with pytest.raises(InputError, match=r"did not write: if you trust it, load it in Python"):
        load_program(changed(META, None))
    for content in ("[]", "{}", "no json"):
        with pytest.raises(InputError, match=r"export it again|no whole checkpoint"):
            load_program(changed(META, content))
    with pytest.raises(InputError, match=r"is damaged, or of another release"):
        load_program(changed("archive/data/weights/weight_3", b"short"))
    shutil.copy(trained.with_suffix(".pt2"), tmp_path / "renamed.pt")  # whatever it is called
    assert load_program(tmp_path / "renamed.pt").model.name == "resnet20 (exported)"


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        (
            "best.pt2",
            ("--model.name", "resnet20"),
            "is a program, which holds its network: leave out --model",
        ),
        ("best.onnx", (), "is an ONNX model, in which attacks have no gradients.*torch"),
    ],
)
def test_what_cannot_be_done_is_named(trained, name, flags, message, capsys):
    trained.with_name("best.onnx").write_bytes(b"onnx")
    with pytest.raises(SystemExit):
        main(["evaluate", str(trained.with_name(name)), *flags])
    assert pd.Series([capsys.readouterr().err.replace("\n", " ")]).str.contains(message).all()
