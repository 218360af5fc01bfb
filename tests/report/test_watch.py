"""How far a run is, from its files alone."""

import json
import shutil

import pytest
from rich.console import Console

from robust_tickets.cli.main import main
from robust_tickets.report.watch import BLOCKS, progress, seconds_left, sparkline, watch_table


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([0.3], "▁"),
        ([0.1, 0.1], "▁▁"),
        ([0.0, 0.5, 1.0], "▁▅█"),
        ([1.0, 0.0, 1.0], "█▁█"),
        (list(range(30)), "▁▁▂▂▂▃▃▃▄▄▅▅▅▆▆▇▇▇██"),
    ],
)
def test_a_sparkline_has_its_extremes_at_both_ends(values, expected):
    line = sparkline(values)
    assert len(line) == min(len(values), 20)
    if len(set(values)) > 1:
        assert (line[values[-20:].index(min(values[-20:]))], line[values[-20:].index(max(values[-20:]))]) == (
            "▁",
            "█",
        )
    if len(values) < 20:
        assert line == expected


@pytest.fixture
def broken_off(run):
    """Seed 0 is done, of seed 1 the search and dense; the ticket is in its second epoch."""
    for seed in (0, 1):
        for arm in ("dense", "ticket"):
            run.arm(seed, arm).robustness.touch()
    ticket = run.arm(1, "ticket")
    ticket.ledger.unlink()
    ticket.robustness.unlink()
    record = json.loads(ticket.metrics.read_text().splitlines()[0])
    ticket.metrics.write_text(
        "".join(json.dumps(record | {"epoch": n, "val_robust": n / 10}) + "\n" for n in (1, 2))
    )
    return run


def test_each_arm_has_a_state(broken_off):
    arms = progress(broken_off)
    states = [(one.seed, one.arm, one.state) for one in arms]
    assert states == [
        (0, "dense", "done"),
        (0, "search", "done"),
        (0, "ticket", "done"),
        (1, "dense", "done"),
        (1, "search", "done"),
        (1, "ticket", "running"),
    ]
    assert seconds_left(arms) == arms[2].seconds == 5.0
    shutil.rmtree(broken_off.arm(1, "ticket").path)
    broken_off.arm(1, "dense").robustness.unlink()
    arms = progress(broken_off, seeds=[2])
    assert [one.state for one in arms[3:]] == ["trained", "done", "waiting", "waiting", "waiting", "waiting"]
    assert seconds_left(arms) == 5.0 + 10.0 + 3.0 + 5.0
    assert seconds_left(progress(broken_off)[3:]) is None  # no ticket was trained in this seed


def test_the_table_shows_the_curve(broken_off, capsys):
    console = Console(width=100)
    console.print(watch_table(broken_off, progress(broken_off)))
    text = capsys.readouterr().out
    assert "5 of 6 done, about 0:05 of training left, by the other seeds" in text
    assert "accuracies on validation images" in text
    assert "▁█" in text
    assert "20.0" in text
    main(["watch", str(broken_off.path), "--once"])
    assert "running" in capsys.readouterr().out


def test_a_narrow_terminal_shows_the_newest_epochs(broken_off, capsys):
    ticket = broken_off.arm(1, "ticket")
    record = json.loads(ticket.metrics.read_text().splitlines()[0])
    values = [0.5] * 18 + [0.1, 0.9]  # the last two are the lowest and the highest
    lines = (json.dumps(record | {"epoch": n, "val_robust": value}) for n, value in enumerate(values, 1))
    ticket.metrics.write_text("".join(f"{line}\n" for line in lines))
    arms = progress(broken_off)
    for width, shown in ((76, 7), (200, 20)):
        Console(width=width).print(watch_table(broken_off, arms, width))
        table = capsys.readouterr().out
        (row,) = (line for line in table.splitlines() if "running" in line)
        assert "▁█" in row
        assert sum(character in BLOCKS for character in row) == shown
        assert max(map(len, table.splitlines())) <= width
