"""A study runs its cells once, shares what they share, and says what its figures say."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import robust_tickets as rt
from robust_tickets.base.errors import InputError
from robust_tickets.base.machine import Machine
from robust_tickets.base.progress import SilentProgress
from robust_tickets.cli.main import main
from robust_tickets.cli.study import STUDIES
from robust_tickets.recipe import recipe as recipes
from robust_tickets.recipe.fields import Model, Study
from robust_tickets.report.read import arm_result
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json
from robust_tickets.stages.experiment import Experiment
from robust_tickets.studies import grid, record
from robust_tickets.studies import study as studies
from robust_tickets.studies.claims import CLAIMS
from robust_tickets.tickets.ticket import Ticket

STUDY = Study(
    lr=(0.02, 0.1),
    ratio=(0.5, 0.75),
    width=(0.1, 0.2),
    mask_source=("natural", "fgsm"),
    search_length=(1, 2),
    rounds=(1, 2),
    schedule=(1, 2),
    transfer=("threat.eps=0.05",),
)


class Heard(SilentProgress):
    """Progress that remembers what was said."""

    def __init__(self):
        self.lines = []

    def log(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def base(tiny_recipe):
    return replace(tiny_recipe, study=STUDY)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One folder for all studies here, which therefore share what they have in common."""
    return tmp_path_factory.mktemp("runs")


def ask(name, base, runs, seeds=(0, 1)):
    heard = Heard()
    return studies.study(name, Experiment(base), list(seeds), runs, Machine("cpu", heard)), heard.lines


@pytest.mark.parametrize("name", STUDIES)
def test_each_study_writes_its_rows_figure_and_verdict(name, base, runs):
    done, _ = ask(name, base, runs)
    rows = pd.read_csv(done.folder / f"{name}.csv")
    assert set(rows.seed) == {0, 1}
    assert not rows.duplicated(["setting", "seed", "arm"]).any()
    assert {"dense", "ticket"} <= set(rows.arm)
    assert (done.folder / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
    said = (done.folder / f"{name}.md").read_text(encoding="utf-8")
    assert "undecided at 2 seeds" in said
    assert "A verdict needs 3 seeds" in said
    assert (done.folder / "study.toml").is_file()
    before = {p.name: p.read_bytes() for p in done.folder.iterdir()}
    assert record.read_study(done.folder) == (before[f"{name}.csv"].decode(), said)
    again, lines = ask(name, base, runs)
    assert {p.name: p.read_bytes() for p in again.folder.iterdir()} == before
    assert not any("copied from" in line for line in lines)  # for it is there already


def test_figures_are_those_of_the_run_directories(base, runs):
    done, _ = ask("lr", base, runs)
    for row in done.rows.itertuples():
        run = RunDirectory.open(runs / row.run)
        result = arm_result(run, row.seed, row.arm)
        assert run.recipe.search.lr == float(row.setting)
        assert row.flops == result.ledger["charged_flops"]
        assert row.test_pgd20 == pytest.approx(result.accuracy["best", "pgd-20"], abs=1e-6)


def test_cells_share_their_dense_arm_and_studies_their_cells(base, runs):
    ask("lr", base, runs)
    _, lines = ask("ratio", base, runs, seeds=(0,))
    lr = {row.run for row in ask("lr", base, runs)[0].rows.itertuples() if row.setting == "0.1"}
    ratio = {row.run for row in ask("ratio", base, runs)[0].rows.itertuples() if row.setting == "0.75"}
    assert lr == ratio  # the recipe's own setting
    assert not any("epoch" in line for line in lines)


@pytest.mark.parametrize("name", ["schedule", "transfer"])
def test_a_forecast_counts_what_is_trained_and_once(name, base, tmp_path, monkeypatch):
    monkeypatch.setattr("robust_tickets.comparison.estimate._seconds_per_cost", lambda *arguments: 1e-6)
    ask(name, base, tmp_path, seeds=(0,))
    arms = {
        read_json(file)["key"]: read_json(file.parent / "ledger.json")
        for file in tmp_path.glob("*/seed-0/*/arm.json")
    }
    searches = {
        Ticket.load(file).hash: read_json(file.parent / "ledger.json")
        for file in tmp_path.glob("*/seed-0/search/ticket.safetensors")
    }
    rows = studies.forecast(name, Experiment(base), 1, Machine("cpu", SilentProgress())).rows.iloc[:-1]
    of_search = rows.arm.str.startswith("search")
    for found, ledgers in ((rows[~of_search], arms), (rows[of_search], searches)):
        assert len(found) == len(ledgers)
        for column in ("passes", "flops"):
            assert found[column].sum() == sum(a[f"charged_{column}"] for a in ledgers.values())


def test_more_seeds_add_to_those_that_are_there(base, tmp_path):
    base = replace(base, study=replace(STUDY, controls=("dense", "ticket")))
    one, _ = ask("controls", base, tmp_path, seeds=(0,))
    assert "One seed cannot give an interval" in (one.folder / "controls.md").read_text(encoding="utf-8")
    both, _ = ask("controls", base, tmp_path, seeds=(2,))
    assert list(both.rows.seed.unique()) == [0, 2]
    assert both.folder == one.folder


def test_the_ticket_of_another_recipe_is_charged_its_own_search(base, runs):
    done, _ = ask("transfer", base, runs, seeds=(0,))
    there = done.rows[(done.rows.arm == "ticket-from") & (done.rows.seed == 0)].iloc[0]
    own = done.rows[(done.rows.arm == "ticket") & (done.rows.seed == 0)].iloc[0]
    assert there.search_flops == own.search_flops > 0  # the same steps at another eps
    (cell,) = grid.GRIDS["transfer"](base)
    found = Ticket.load(RunDirectory.of(runs, cell.source).search(0).ticket)
    assert found.hash != Ticket.load(runs / own.run / "seed-0/search/ticket.safetensors").hash
    assert (runs / own.run / "seed-0" / f"ticket-{found.hash[:8]}" / "best.safetensors").is_file()


def test_a_damaged_table_is_named_and_nothing_is_lost(base, runs):
    done, _ = ask("rounds", base, runs, seeds=(0,))
    file = done.folder / "rounds.csv"
    whole = file.read_bytes()
    file.write_text("seed,arm\n0\n")
    with pytest.raises(InputError, match=r"rounds.csv .*remove it and run the study again"):
        ask("rounds", base, runs, seeds=(0,))
    file.write_bytes(whole)


def rows_of(figures, column="early_robust"):
    """Rows from (setting, arm) -> a figure a seed."""
    return pd.DataFrame(
        [
            {"setting": setting, "arm": arm, "seed": seed, column: figure}
            for (setting, arm), values in figures.items()
            for seed, figure in enumerate(values)
        ]
    )


UP, DOWN, MIDDLE = (0.41, 0.42, 0.43), (0.31, 0.30, 0.32), (0.35, 0.36, 0.37)


@pytest.mark.parametrize(
    ("name", "figures", "settings", "statuses"),
    [
        ("lr", {("0.1", "ticket"): DOWN, ("0.01", "ticket"): UP}, ["0.1", "0.01"], ["holds"]),
        ("lr", {("0.1", "ticket"): UP, ("0.01", "ticket"): DOWN}, ["0.1", "0.01"], ["does not hold"]),
        (
            "ratio",
            {
                (r, a): v
                for r, t in (("0.6", UP), ("0.98", DOWN))
                for a, v in (("ticket", t), ("dense", MIDDLE))
            },
            ["0.6", "0.98"],
            ["holds"],  # what is pruned further is not claimed of
        ),
        (
            "width",
            {
                ("1", "ticket"): UP,
                ("1", "ticket-reinit"): DOWN,
                ("0.1", "ticket"): MIDDLE,
                ("0.1", "ticket-reinit"): DOWN,
            },
            ["1", "0.1"],
            ["holds"],
        ),
        (
            "mask-source",
            {("natural", "ticket"): DOWN, ("fgsm", "ticket"): UP, ("pgd", "ticket"): MIDDLE},
            ["natural", "fgsm", "pgd"],
            ["holds"],
        ),
        ("search-length", {("1", "ticket"): UP, ("9", "ticket"): DOWN}, ["1", "9"], ["does not hold"]),
        ("rounds", {("1", "ticket"): UP, ("4", "ticket"): (0.411, 0.419, 0.43)}, ["1", "4"], ["holds"]),
        (
            "controls",
            {("x", "ticket"): MIDDLE, ("x", "random"): DOWN, ("x", "dense-best"): UP, ("x", "dense"): UP},
            ["x"],
            ["does not hold"],
        ),
        (
            "controls",  # dense on another schedule is no control
            {("x", "ticket"): MIDDLE, ("x", "dense"): UP, ("x", "dense-short"): DOWN},
            ["x"],
            ["holds"],
        ),
        (
            "controls",  # nor is what has the ticket's cost, at another length
            {
                ("x", "ticket"): MIDDLE,
                ("x", "dense"): DOWN,
                ("x", "dense-equal-cost"): UP,
                ("x", "dense-staged"): UP,
            },
            ["x"],
            ["holds"],
        ),
        (
            "ratio",
            {("0.6", "ticket"): MIDDLE, ("0.6", "dense"): DOWN, ("0.6", "dense-short"): UP},
            ["0.6"],
            ["does not hold"],
        ),
        (
            "transfer",
            {("threat.eps=1", "ticket-from"): UP, ("threat.eps=1", "ticket-reinit"): DOWN},
            ["threat.eps=1"],
            ["holds"],
        ),
    ],
)
def test_claims_read_the_figures_they_name(name, figures, settings, statuses):
    assert [claim.status for claim in CLAIMS[name](rows_of(figures), settings, "robust")] == statuses


def test_the_schedule_has_two_claims_on_test_accuracy():
    figures = {("2", "ticket"): MIDDLE, ("2", "dense-short"): DOWN, ("2", "dense-equal-cost"): UP}
    claims = CLAIMS["schedule"](rows_of(figures, "test_pgd20"), ["2"], "robust")
    assert [claim.status for claim in claims] == ["holds", "does not hold"]
    claims = CLAIMS["schedule"](rows_of(figures, "test_clean"), ["2"], "clean")
    assert [claim.status for claim in claims] == ["holds", "does not hold"]


def test_seeds_that_lack_an_arm_are_left_out_of_its_contrast():
    rows = rows_of({("0.1", "ticket"): DOWN, ("0.01", "ticket"): UP[:2]})
    (claim,) = CLAIMS["lr"](rows, ["0.1", "0.01"], "robust")
    assert len(claim.contrasts[0].differences) == 2


def damage(rows, how):
    """The text of a study's table with something wrong in it."""
    text = rows.to_csv(index=False)
    lines = text.splitlines()
    if how == "columns":
        return rows.iloc[:, :7].to_csv(index=False)
    if how == "word":
        return (
            rows.astype({"early_robust": object})
            .replace({"early_robust": {rows.early_robust[1]: "x"}})
            .to_csv()
        )
    if how == "twice":
        return "\n".join([*lines, lines[-1]]) + "\n"
    if how == "cut":
        return "\n".join([*lines[:-1], ",".join(lines[-1].split(",")[:4])]) + "\n"
    if how == "renamed":
        return rows.assign(setting="7").to_csv(index=False)
    return lines[0] + "\n" if how == "nothing" else "\0"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("columns", "it has no column "),
        ("word", "its column early_robust has something that is no number"),
        ("twice", "it has a row twice: 0.1, "),
        ("cut", r"its row \d+ is cut short"),
        ("renamed", "it has a setting 7, which the study has not"),
        ("nothing", "it has no rows"),
        ("noise", "cannot read"),
    ],
)
def test_a_damaged_table_is_refused_in_words(how, says, base, runs, tmp_path):
    done, _ = ask("lr", base, runs)
    folder = tmp_path / done.folder.name
    shutil.copytree(done.folder, folder)
    (folder / "lr.csv").write_text(damage(done.rows, how))
    with pytest.raises(InputError, match=rf"{says}.*remove it and run the study again"):
        record.read_study(folder)


def test_two_widths_of_one_net_are_refused_before_anything_is_run(base, tmp_path):
    nets = replace(base, model=Model("resnet20"), study=replace(STUDY, width=(0.5, 0.51)))
    with pytest.raises(InputError, match=r"study width: 0\.5 and 0\.51 are the same net"):
        ask("width", nets, tmp_path)
    assert not list(tmp_path.iterdir())


def test_images_that_are_not_there_are_asked_for_before_anything_is_run(base, tmp_path, monkeypatch):
    monkeypatch.delenv("ROBUST_TICKETS_SVHN", raising=False)
    there = replace(base, study=replace(STUDY, transfer=("data.name=svhn",)))
    with pytest.raises(InputError, match="SVHN not found"):
        ask("transfer", there, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_setting_that_cannot_be_names_the_studys_field(base, tmp_path):
    hopeless = replace(base, study=replace(STUDY, ratio=(0.5, 0.99999)))
    with pytest.raises(InputError, match=r"setting 0\.99999: .*lower study\.ratio.*what is done is kept"):
        ask("ratio", hopeless, tmp_path, seeds=(0,))


def test_a_study_of_ones_own_net_and_images(tmp_path, tiny_data):
    folder = rt.study(
        "controls",
        own_net,
        tiny_data,
        seeds=2,
        runs=tmp_path,
        quiet=True,
        threat={"eps": "0.1"},
        search={"pruning_method": "snip", "batch": 32},
        train={"epochs": 1, "ticket_epochs": 1, "batch": 32, "method": "natural", "lr": 0.05},
        evaluate={"images": 20, "val_steps": 1},
        study={"controls": ["dense", "ticket", "random"]},
        compute={"threads": 1},
    )
    assert set(pd.read_csv(folder / "controls.csv").arm) == {"dense", "ticket", "random"}


def own_net():
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 24), torch.nn.ReLU(), torch.nn.Linear(24, 10)
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "ratios"}, "unknown study 'ratios'"),
        ({"name": "lr", "seeds": 0}, "seeds must be a whole number of at least 1, got 0"),
        ({"name": "lr", "seed": -1}, "seed must be a whole number of at least 0"),
        ({"name": "lr", "net": torch.nn.Flatten()}, "3 seeds need as many inits"),
    ],
)
def test_what_cannot_be_studied_is_said(arguments, says, tmp_path):
    with pytest.raises(InputError, match=says):
        rt.study(**arguments, runs=tmp_path, quiet=True)


REFERENCE = Path(__file__).parents[2] / "runs" / "reference" / "studies"


@pytest.mark.parametrize("folder", sorted(REFERENCE.glob("*/study.toml")), ids=lambda file: file.parent.name)
def test_the_verdicts_we_publish_are_those_of_their_figures(folder, capsys):
    name = folder.parent.name
    main(["table", str(folder.parent)])
    assert capsys.readouterr().out == (folder.parent / f"{name}.md").read_text(encoding="utf-8")


def test_a_folder_without_its_table_is_named(base, tmp_path):
    (tmp_path / "study.toml").write_text(recipes.to_toml(base, study=True))
    with pytest.raises(InputError, match="has no table of a study: run the study again"):
        record.read_study(tmp_path)
