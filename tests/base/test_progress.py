"""What a log says of the time left."""

import pytest

from robust_tickets.base import progress as progress_module


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose one number is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("earlier", [0, 40])
def test_the_time_left_follows_the_steps_done_here(
    clock: list[float], capsys: pytest.CaptureFixture[str], earlier: int
) -> None:
    """What an earlier command did shortens what is left, and says nothing of the speed."""
    with progress_module.LineProgress().stage("dense", 100) as meter:
        meter.advance(earlier, 0)
        for _ in range(10):
            meter.advance(1, 9)
        clock[0] = 20.0
        meter.note("epoch 1")
    seconds = 2 * (100 - earlier - 10)
    said = f"dense: epoch 1  4 passes/s  {seconds // 60}:{seconds % 60:02} left\n"
    assert capsys.readouterr().err == said
