"""The lines of a log."""

import pytest

from robust_tickets.base import progress as progress_module


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock; its one number is the time in seconds."""
    seconds = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: seconds[0])
    return seconds


@pytest.mark.parametrize("earlier", [0, 40])
def test_the_time_left_follows_the_steps_of_this_command(
    clock: list[float], capsys: pytest.CaptureFixture[str], earlier: int
) -> None:
    """Steps of an earlier command shorten the rest, and do not count for the speed."""
    with progress_module.LineProgress().stage("dense", 100) as stage:
        stage.advance(earlier, 0)
        for _ in range(10):
            stage.advance(1, 9)
        clock[0] = 20.0
        stage.note("epoch 1")
    seconds = 2 * (100 - earlier - 10)
    line = f"dense: epoch 1  4 passes/s  {seconds // 60}:{seconds % 60:02} left\n"
    assert capsys.readouterr().err == line


def test_a_long_stage_says_each_minute_how_far_it_is(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_module.LineProgress().stage("evaluate last", 1000) as stage:
        for second in range(1, 131):
            clock[0] = float(second)
            stage.advance(2, 50)
        stage.note("autoattack 33.0%")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "evaluate last: 12% done  50 passes/s  7:20 left",
        "evaluate last: 24% done  50 passes/s  6:20 left",
    ]
    assert len(lines) == 3


def test_a_bar_logs_lines_and_warnings_of_its_stage(capsys: pytest.CaptureFixture[str]) -> None:
    bars = progress_module.BarProgress()
    with bars.stage("dense [0]", 2) as stage:
        stage.advance(1, 9)
        stage.note("epoch 1")
        stage.warn("it diverges")
        bars.log("line [x]")
    text = capsys.readouterr().err
    assert all(part in text for part in ("WARNING: dense [0]: it diverges", "line [x]", "epoch 1"))
