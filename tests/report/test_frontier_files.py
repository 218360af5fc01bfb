"""The files of a frontier: the table read back, the text, the plot; and the command that makes them."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from frontier_case import candidate, frontier
from scipy import stats

import robust_tickets
from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.report.figures import image
from robust_tickets.report.frontier_answers import Question
from robust_tickets.report.frontier_plot import frontier_figure
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_csv, frontier_markdown, frontier_table
from robust_tickets.report.write import write_frontier
from robust_tickets.runs.arm_directory import FrontierFolder

ARMS = [
    candidate("dense", 100, [0.40, 0.41, 0.42]),
    candidate("ticket", 40, [0.397, 0.408, 0.416]),
    candidate("ticket", 40, [0.38, 0.41, 0.38], name="ticket (average)", weights="average"),
    candidate("random", 40, [0.30, 0.42, 0.29]),
    candidate("dense-short", 50, [0.35, 0.36, 0.36], seconds=(90, 100, 110)),
    candidate("dense-narrow-flops", 45, [0.30, 0.32, 0.31], seconds=(), no_seconds="elsewhere"),
]


def test_the_csv_has_the_figures():
    table = pd.read_csv(io.StringIO(frontier_csv(frontier(*ARMS), Question())), keep_default_na=True)
    assert list(table.flops) == sorted(table.flops)
    table = table.set_index("arm")
    for arm in ARMS:
        row, values = table.loc[arm.name], arm.robust
        assert (row.weights, row.attack, row.seeds, row.ratios_to) == (arm.weights, "pgd-20", 3, "dense")
        assert row.flops_ratio == pytest.approx(arm.flops[0] / 100)
        low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
        assert [row.robust_mean, row.robust_low, row.robust_high] == pytest.approx(
            [np.mean(values), low, high], rel=1e-5
        )
        apart = np.subtract(values, ARMS[0].robust)
        ends = (
            stats.t.interval(0.95, 2, loc=np.mean(apart), scale=stats.sem(apart)) if np.any(apart) else (0, 0)
        )
        assert [row.difference_mean, row.difference_low, row.difference_high] == pytest.approx(
            [np.mean(apart), *ends], rel=1e-4
        )
        assert row.clean_mean == pytest.approx(np.mean(values) + 0.2, rel=1e-5)
    assert table.on_front_flops.to_dict() == {arm.name: arm.name in ("dense", "ticket") for arm in ARMS}
    # in seed 1 both others of that cost are more accurate than the ticket, and random is more than dense
    assert table.seeds_on_front_flops.to_dict() == {
        "dense": 2, "ticket": 2, "ticket (average)": 0, "random": 1, "dense-short": 0,
        "dense-narrow-flops": 0,
    }  # fmt: skip
    assert table.dominated_by_flops["random"] == table.dominated_by_flops["dense-short"] == "ticket"
    assert table.seconds_ratio["dense-short"] == pytest.approx(0.1)
    assert table.on_front_seconds["dense-short"]
    assert table.loc["dense-narrow-flops", ["seconds", "seconds_ratio"]].isna().all()
    assert not table.on_front_seconds["dense-narrow-flops"]


def test_intervals_of_accuracies_end_at_0_and_1():
    both = frontier(candidate("dense", 1, [0, 0.1, 0]), candidate("random", 2, [0.4, 0.8, 0.6]))
    text, table = frontier_markdown(both, Question(target=0.6)), frontier_table(both)
    assert " (0.0 to 17.7) " in text
    assert " (30.3 to 100.0) " in text  # clean
    assert (table.robust_low.min(), table.clean_high.max()) == (0, 1)
    assert "60.0 % (95 % interval 10.3 to 100.0 over 3 seeds)" in text


def test_an_interval_shows_on_which_side_of_zero_it_ends():
    dense = [0.40, 0.41, 0.42]
    for apart, shown in (
        ([-0.010, -0.0072, -0.0044], "-0.7 (-1.4 to -0.02)"),
        ([0.010, 0.0072, 0.0044], "+0.7 (+0.02 to +1.4)"),
        ([-0.010, -0.0072, -0.0040], "-0.7 (-1.5 to +0.04)"),
        ([0.0, 0.0, 0.0], "+0.0 (+0.0 to +0.0)"),
    ):
        robust = [a + b for a, b in zip(dense, apart, strict=True)]
        text = frontier_markdown(
            frontier(candidate("dense", 100, dense), candidate("ticket", 40, robust)), Question()
        )
        assert shown in text
        low, high = shown.split(" (")[1].strip(")").split(" to ")
        assert f"(95 % interval {low} to {high} over 3 seeds)" in text


def test_few_seeds_leave_intervals_empty():
    one = frontier(candidate("dense", 100, [0.4]), candidate("ticket", 50, [0.3]))
    table = pd.read_csv(io.StringIO(frontier_csv(one, Question())))
    assert (
        table[["robust_low", "robust_high", "clean_low", "clean_high", "difference_low"]]
        .isna()
        .all(axis=None)
    )
    text = frontier_markdown(one, Question())
    assert re.search(
        r"\| ticket +\| +0\.50 \| +0\.50 \| +30\.0 \| +-10\.0 \| +50\.0 \| +yes \| +1 of 1 \|", text
    )
    assert "means over seeds, without intervals, for which at least 3 seeds are needed" in text


def test_the_text_has_a_row_an_arm_the_answers_and_what_to_know():
    text = frontier_markdown(frontier(*ARMS), Question(cost="seconds", target=0.35))
    lines = text.splitlines()
    assert lines[0] == "**made up**"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2 : 4 + len(ARMS)]]
    assert rows[0] == [
        "arm", "FLOPs / dense", "seconds / dense", "PGD-20 %", "robust - dense, points", "clean %",
        "front (seconds)", "seeds on it",
    ]  # fmt: skip
    assert len({len(line) for line in lines[2 : 4 + len(ARMS)]}) == 1, "columns are aligned"
    assert rows[2] == [
        "dense-short", "0.50", "0.10 (0.08 to 0.13)", "35.7 (34.2 to 37.1)", "-5.3 (-6.8 to -3.9)",
        "55.7 (54.2 to 57.1)", "yes", "3 of 3",
    ]  # fmt: skip
    assert rows[-1][0] == "dense-narrow-flops"
    assert rows[-1][1:3] + rows[-1][6:] == ["0.45", "-", "-", "-"]
    assert ["random", "no: dense-short"] in [[row[0], row[6]] for row in rows]
    assert "The cheapest arm that reaches 35 % is `dense-short`, at 0.10" in text
    assert "The cheapest arm within 0.5 points of `dense` is `ticket`" in text
    assert "Seconds of `dense-narrow-flops` are left out: they were taken elsewhere." in text
    assert "the better of two rows of this table is a choice on test images" in text
    assert "†" not in text


def test_marks_are_explained():
    text = frontier_markdown(frontier(candidate("dense", 100, [0.4], jobs=3, machines=2)), Question())
    assert "1.00†‡ |" in text
    assert "† Taken while up to 3 jobs ran at a time. ‡ Continued on another machine" in text
    assert "choice on test images" not in text


def texts(file):
    """The texts of an SVG, which has to be XML."""
    root = ET.fromstring(file.read_text(encoding="utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(("cheapest", "dearest", "logarithmic"), [(20, 100, False), (1, 1e5, True)])
def test_the_plot_names_every_arm_where_its_cost_is_known(cheapest, dearest, logarithmic, tmp_path):
    arms = [
        *ARMS,
        candidate("dense+pgd", dearest, [0.42, 0.43, 0.44]),
        candidate("ticket+pgd", cheapest, [0.1] * 3),
    ]
    (tmp_path / "a.svg").write_bytes(image(frontier_figure(frontier(*arms), target=0.4)))
    words = texts(tmp_path / "a.svg")
    assert {arm.name: words.count(arm.name) for arm in arms} == {
        arm.name: 2 if arm.seconds else 1 for arm in arms
    }
    assert ("1000" in words) == logarithmic
    for word in (
        "target, 40 %",
        "whole network",
        "from a ticket",
        "narrow network",
        "hollow: average weights",
        "a seed",
    ):
        assert word in words


def test_of_many_points_those_of_averaged_weights_are_named_on_the_front_alone(tmp_path):
    arms = [candidate("dense", 10, [0.2], name=f"arm {i}") for i in range(15)]
    best, worst = (
        candidate("dense", 10, [x], name=f"{name} (average)", weights="average")
        for name, x in (("best", 0.9), ("worst", 0.1))
    )
    for i, more in enumerate(([best], [best, worst])):
        (tmp_path / f"{i}.svg").write_bytes(image(frontier_figure(frontier(*arms, *more))))
    few, many = ((tmp_path / f"{i}.svg").read_text() for i in (0, 1))
    assert all(f"arm {i}<" in text for text in (few, many) for i in range(15))
    assert "best (average)" in few
    assert "best (average)" in many
    assert "worst (average)" not in many


def test_a_question_without_an_answer_writes_nothing(tmp_path):
    with pytest.raises(InputError, match="no arm reaches 90 %"):
        write_frontier(frontier(*ARMS), Question(target=0.9), FrontierFolder(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_no_seconds_are_drawn_where_none_are_known(tmp_path):
    for name in ("a.svg", "b.svg"):
        figure = frontier_figure(frontier(candidate("dense", 100, [0.4], seconds=())))
        (tmp_path / name).write_bytes(image(figure))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    words = texts(tmp_path / "a.svg")
    assert words.count("dense") == 1
    assert not any("seconds" in word or "not known" in word for word in words)
    assert "a seed" not in words


def test_the_command_prints_and_writes_what_a_comparison_writes(run, tmp_path, capsys):
    write_frontier(read_frontier([run]), Question(), FrontierFolder(run.path))
    assert {file.name for file in run.path.glob("frontier.*")} == {
        f"frontier.{e}" for e in ("svg", "md", "csv")
    }
    text = (run.path / "frontier.md").read_text()
    main(["frontier", str(run.path)])
    assert capsys.readouterr().out == text
    folder = tmp_path / "new" / "folder"
    main(["frontier", str(run.path), "--out", str(folder), "--target", "0.2", "--cost", "seconds"])
    out = capsys.readouterr().out
    assert "The cheapest arm that reaches 20 % is `ticket`, at 0.80 of `dense`'s seconds" in out
    assert out.splitlines()[-3:] == [str(folder / f"frontier.{ending}") for ending in ("svg", "md", "csv")]
    assert out.startswith((folder / "frontier.md").read_text())
    assert {"dense", "ticket"} <= set(texts(folder / "frontier.svg"))
    rows = robust_tickets.frontier(run.path, of="ticket")
    assert list(rows.arm) == ["ticket", "dense"]
    assert list(rows.flops_ratio) == pytest.approx([1, 1.25])
    assert robust_tickets.frontier([run.path, str(run.path)], of="ticket").equals(rows)


MISTAKES = {
    "no run": ("frontier", r"frontier needs RUN\.\.\. \(run directories"),
    "flags alone": ("frontier --target 0.2", r"frontier needs RUN\.\.\."),
    "no run directory": ("frontier {run}/seed-0", "is no run directory"),
    "a target in percent": ("frontier {run} --target 38", "target must be at least 0 and at most 1, got 38"),
    "a target out of reach": (
        "frontier {run} --target 0.9",
        "no arm reaches 90 % under PGD-20: the best is dense",
    ),
    "an unknown arm": ("frontier {run} --of tickets", "no arm 'tickets' on this frontier: choose --of from"),
    "negative points": ("frontier {run} --within -1", "within must be at least 0"),
    "no averages": (
        "frontier {run} --weights average",
        "with weights average: choose last or best by --weights",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_wrong_input_is_answered_in_a_line_and_nothing_is_written(case, run, tmp_path, capsys):
    words, message = MISTAKES[case]
    with pytest.raises(SystemExit, match="2"):
        main([*words.format(run=run.path).split(), "--out", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert re.search(message, err)
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "runs must be a run directory, or several, got none"),
        ((3,), "runs must be a path"),
        ((["no such folder"],), "is no run directory"),
    ],
)
def test_wrong_runs_are_named_in_python(arguments, message):
    with pytest.raises(InputError, match=message):
        robust_tickets.frontier(*arguments)
