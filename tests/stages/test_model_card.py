"""A model card has the figures of the run's own files, a header that parses, and lines that load its file."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from quick_comparison import quick_comparisons

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.comparison import compare
from robust_tickets.evaluation import robustness_csv
from robust_tickets.models.registry import ModelSpec
from robust_tickets.recipe.fields import Compare
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.stages.experiment import Experiment
from robust_tickets.stages.model_card import model_card, write_card
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def run(tiny_recipe, tmp_path_factory):
    """A run of one seed, judged by AutoAttack, with its table."""
    evaluate = replace(tiny_recipe.evaluate, aa_images=40)
    recipe = replace(tiny_recipe, evaluate=evaluate, compare=Compare(("dense", "ticket", "ticket-reinit")))
    with quick_comparisons(report=True):
        return compare.compare(Experiment(recipe), [0], tmp_path_factory.mktemp("runs"))


@pytest.fixture
def ticket(run):
    return run.search(0).ticket


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


def table(text, heading):
    """The rows of the table under a heading, by the texts of their first two cells."""
    lines = re.findall(
        r"^\| (.*) \|$", text.partition(f"## {heading}\n")[2].partition("\n## ")[0], re.MULTILINE
    )
    titles, _, *rows = (line.split(" | ") for line in lines)
    return {tuple(row[:2]): dict(zip(titles, row, strict=True)) for row in rows}


def snippet(text):
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def test_the_accuracies_are_those_of_the_runs_table(run, ticket):
    rows = table(model_card(ticket).markdown(), "Accuracies")
    timing = pd.read_csv(run.timing_csv).set_index("arm")
    names = {arm for arm, _ in rows}
    assert names == {"`ticket`", "`dense`"}  # its mask with a new init was not trained from it
    assert next(iter(rows)) == ("`ticket`", "last epoch")
    for arm in ("ticket", "dense"):
        last, best = rows[f"`{arm}`", "last epoch"], rows[f"`{arm}`", "best epoch"]
        figures = timing.loc[arm]
        judged = "AutoAttack" if figures.aa_last_added == figures.aa_last_added else "AA (APGD-CE, APGD-T)"
        low, high = figures.aa_last_low, figures.aa_last_high
        text = f"{100 * figures.aa_last_mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        assert last[f"{judged} %, 40 images"] == text
        for cells, column, title in (
            (last, "clean_last_mean", "clean"),
            (last, "pgd20_last_mean", "PGD-20"),
            (best, "clean_mean", "clean"),
            (best, "pgd20_mean", "PGD-20"),
        ):
            assert cells[f"{title} %, 50 images"].startswith(f"{100 * figures[column]:.1f} (")


def test_the_intervals_are_those_of_the_evaluation(run, ticket):
    rows = table(model_card(ticket).markdown(), "Accuracies")
    measured = robustness_csv.read_rows(run.arm(0, "ticket").robustness)
    row = measured[(measured.checkpoint == "last") & (measured.attack == "pgd-20") & (measured.n == 50)].iloc[
        0
    ]
    cell = rows["`ticket`", "last epoch"]["PGD-20 %, 50 images"]
    assert cell == f"{100 * row.accuracy:.1f} ({100 * row.low:.1f} to {100 * row.high:.1f})"


def test_a_further_evaluation_changes_no_figure_of_the_table(run, ticket, tmp_path):
    before = table(model_card(ticket).markdown(), "Accuracies")
    shutil.copytree(run.path, tmp_path / run.path.name)
    copied = type(run)(tmp_path / run.path.name, run.recipe)
    file = copied.arm(0, "ticket").robustness
    rows = robustness_csv.read_rows(file)
    more = rows.assign(n=300, accuracy=0.987)
    elsewhere = rows.assign(eps="1/2", accuracy=0.123)
    robustness_csv.merge_rows(file, pd.concat([more, elsewhere]))
    assert table(model_card(copied.search(0).ticket).markdown(), "Accuracies") == before


def test_the_costs_are_those_of_the_ledgers_and_of_the_ticket(run, ticket):
    text, found = model_card(ticket).markdown(), Ticket.load(ticket)
    rows = {stage: row for (stage, _), row in table(text, "What it cost").items()}
    assert list(rows) == ["search", "training of `ticket`", "training of `dense`"]
    assert rows["search"]["passes"] == f"{found.passes:,}"
    assert rows["search"]["FLOPs"] == f"{found.flops:.4g}"
    timing = pd.read_csv(run.timing_csv).set_index("arm")
    seconds = {stage: row["seconds"].partition(" (")[0] for stage, row in rows.items()}  # without marks
    assert seconds["search"] == f"{timing.search_s['ticket']:,.1f}"
    assert seconds["training of `dense`"] == f"{timing.total_s['dense']:,.1f}"


def test_seconds_beside_other_programs_are_marked(run, ticket, tmp_path):
    copied = RunDirectory(tmp_path / run.path.name, run.recipe)
    shutil.copytree(run.path, copied.path)
    ledger = copied.arm(0, "dense").ledger
    load = {"seconds": 10.0, "others": 15.0, "cores": 2, "threads": 1, "convolutions": []}
    ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"jobs": 1, "machine_load": load}))
    rows = table(model_card(copied.search(0).ticket).markdown(), "What it cost")
    words = {
        stage: "beside other programs, so too high" in row["seconds"] for (stage, _), row in rows.items()
    }
    assert words["training of `dense`"]


def test_the_origin_is_that_of_the_ticket(ticket):
    text, found = model_card(ticket).markdown(), Ticket.load(ticket)
    for words in (found.hash, found.data, "Linf 0.1", "recipe: `tiny`", "`imp, fgsm, 2 x 2 epochs at lr 0.1"):
        assert words in text
    assert f"{found.mask.count:,} of {found.mask.size:,} prunable weights" in text
    assert f"`fc1.weight` {100 * found.mask['fc1.weight'].double().mean():.1f} %" in text


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        ("", {}),
        ("MIT", {"license": "mit"}),
        ("cc-by-4.0", {"license": "cc-by-4.0"}),
        ("For my friends: #1", {"license": "other", "license_name": "for-my-friends-1"}),
    ],
)
def test_the_header_parses_and_has_the_licence_that_was_given(ticket, licence, fields):
    text = model_card(ticket, licence).markdown()
    read = header(text)
    assert {name: read[name] for name in read if name.startswith("license")} == fields
    assert (read["library_name"], read["datasets"]) == ("robust-tickets", ["digits"])
    assert "lottery-ticket" in read["tags"]
    assert text.rstrip().endswith(
        licence or "None was given with this file: ask its author before you use it."
    )


@pytest.mark.parametrize("licence", ["a\nlicense: mit", " ", "x" * 201])
def test_a_licence_is_a_short_text_in_one_line(ticket, licence):
    with pytest.raises(InputError, match="short text in one line"):
        model_card(ticket, licence)


def test_the_lines_that_load_a_ticket_do(ticket, tmp_path, monkeypatch):
    shutil.copy(ticket, tmp_path / ticket.name)
    monkeypatch.chdir(tmp_path)
    lines = snippet(model_card(ticket).markdown())
    assert len(lines.splitlines()) <= 10
    names = {}
    exec(lines, names)
    assert names["ticket"].hash == Ticket.load(ticket).hash
    assert names["logits"].shape == (1, 10)

    def zeros():
        return [int(parameter.eq(0).sum()) for parameter in names["net"].parameters() if parameter.ndim > 1]

    before = zeros()
    assert sum(before) > 100
    names["logits"].square().sum().backward()
    names["optimiser"].step()
    assert zeros() == before


def test_the_lines_that_load_a_checkpoint_do(run, tmp_path, monkeypatch):
    file = run.arm(0, "ticket").last
    shutil.copy(file, tmp_path / file.name)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet(model_card(file).markdown()), names)
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(names["net"](images), Checkpoint.load(file).net()(images))


def test_a_checkpoint_has_the_accuracies_of_its_arm_and_of_dense(run, ticket):
    of_ticket = table(model_card(ticket).markdown(), "Accuracies")
    text = model_card(run.arm(0, "ticket").best).markdown()
    assert table(text, "Accuracies") == of_ticket
    assert "the arm `ticket`" in text
    arms = {arm for arm, _ in table(model_card(run.arm(0, "dense").last).markdown(), "Accuracies")}
    assert arms == {"`dense`"}
    costs = {stage for stage, _ in table(model_card(run.arm(0, "dense").last).markdown(), "What it cost")}
    assert costs == {"training of `dense`"}


def test_a_file_outside_of_the_run_that_wrote_it_has_no_figures_of_one(run, ticket, tmp_path):
    alone, beside = tmp_path / "ticket.safetensors", ticket.with_name("other.safetensors")
    shutil.copy(ticket, alone)
    shutil.copy(ticket, beside)
    for file in (alone, beside):
        text = model_card(file).markdown()
        assert "None are known" in text
        assert f"{Ticket.load(ticket).passes:,} passes" in text
        assert "Seconds are not in the file" in text
    beside.unlink()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nets_of_mine:build", "from nets_of_mine import build"),
        ("__main__:build", "from my_nets import build_net  # your function that builds the network"),
        ("a; import os:build", "from my_nets import build_net  # your function that builds the network"),
        ("nets:<lambda>", "from my_nets import build_net  # your function that builds the network"),
        ("nets`\n# My head:build", "from my_nets import build_net  # your function that builds the network"),
    ],
)
def test_what_a_file_says_is_neither_code_nor_format(ticket, name, line, tmp_path):
    found = Ticket.load(ticket)
    model = ModelSpec(name, 1.0, (1, 8, 8), 10, (0.0,), (1.0,))
    search = {**found.search, "model": {"name": "nets:build"}}
    file = tmp_path / "own.safetensors"
    replace(found, model=model, search=search).save(file)
    text = model_card(file).markdown()
    assert line in snippet(text).splitlines()
    assert not re.search("^# My head", text, re.MULTILINE)
    assert f"`{' '.join(name.replace('`', ' ').split())}`" in text  # one piece of code, whatever is in it


def test_the_command_writes_the_card_beside_the_file_or_where_it_is_told(ticket, tmp_path, capsys):
    main(["ticket", "card", str(ticket), "--out", str(tmp_path / "README.md"), "--license", "MIT"])
    assert capsys.readouterr().out == f"{tmp_path / 'README.md'}\n"
    assert header((tmp_path / "README.md").read_text(encoding="utf-8"))["license"] == "mit"
    assert write_card(ticket) == ticket.with_name("ticket-card.md")
    with pytest.raises(InputError, match="is the file that is read"):
        write_card(ticket, ticket)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        model_card(tmp_path / "ticket.safetensors")
    with pytest.raises(InputError, match="damaged or no ticket"):
        model_card(Path(__file__))
