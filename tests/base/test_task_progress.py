"""Progress of tasks: a line for each that is done, and the time that all still take."""

import pytest

from robust_tickets.base import progress as lines
from robust_tickets.base.task_progress import QuietProgress, TaskProgress


@pytest.fixture
def clock(monkeypatch):
    """A clock; its one number is the time in seconds."""
    seconds = [0.0]
    monkeypatch.setattr(lines.time, "perf_counter", lambda: seconds[0])
    return seconds


def test_the_time_left_follows_the_weights_of_what_is_done(clock):
    tasks = lines.Tasks([1.0, 3.0, 4.0])
    assert tasks.time_left() == ""
    clock[0] = 10.0
    assert tasks.time_left(share=0.5) == "about 2:30 left"  # half a unit in 10 seconds, 7.5 are left
    tasks.end(0, "")
    assert tasks.time_left() == "about 1:10 left"
    clock[0] = 60.0
    tasks.end(1, "")
    assert tasks.time_left(share=0.5) == "about 0:20 left"
    tasks.end(2, "")
    assert tasks.time_left() == tasks.time_left(share=0.5) == ""


def test_a_log_has_a_line_a_task(clock, capsys):
    with lines.LineProgress().tasks([1.0, 1.0]) as tasks:
        for number, name in enumerate(("search", "dense")):
            tasks.begin(number, name)
            clock[0] += 30
            tasks.end(number, "clean 50.0%")
    assert capsys.readouterr().err.splitlines() == [
        "1 of 2 done: search  clean 50.0%  about 0:30 left",
        "2 of 2 done: dense  clean 50.0%",
    ]


def test_what_an_earlier_command_did_has_its_own_line_and_tells_nothing_of_the_pace(clock, capsys):
    progress = lines.LineProgress()
    with progress.tasks([5.0, 1.0, 2.0]) as tasks:
        tasks.begin(0, "search")
        progress.done_before("already done: search")
        clock[0] += 1
        tasks.end(0, "clean 50.0%")
        assert tasks.time_left() == ""
        tasks.begin(1, "dense")
        clock[0] += 29
        tasks.end(1, "")
    assert capsys.readouterr().err.splitlines() == [
        "already done: search",
        "2 of 3 done: dense  about 1:00 left",
    ]


def test_a_terminal_has_a_line_a_task_whatever_its_stages_are(clock, capsys):
    progress = TaskProgress()
    with progress.tasks([1.0] * 10) as tasks:
        for number in range(2):
            tasks.begin(number, f"arm{number}, seed 0")
            for title in ("", ": evaluate best", ": sanity checks of best"):
                with progress.stage(f"arm{number}, seed 0{title}", 10) as stage:
                    stage.advance(10, 5)
                    stage.note("epoch 1/1")
            progress.done_before("already done")
            clock[0] += 75
            tasks.end(number, "clean 41.0%  [PGD-20] 22.1%")
    err = capsys.readouterr().err
    first, second = [line for line in err.splitlines() if "clean" in line]
    assert first.split() == ["1/10", "arm0,", "seed", "0", "clean", "41.0%", "[PGD-20]", "22.1%", "1:15"]
    assert second.split()[0] == "2/10"
    assert "already" not in err


def test_warnings_are_seen_in_every_kind_but_the_silent(capsys):
    for progress in (TaskProgress(), QuietProgress(), lines.LineProgress()):
        with progress.tasks([1.0]) as tasks:
            tasks.begin(0, "dense")
            with progress.stage("dense, seed 0", 1) as stage:
                stage.warn("it diverges")
                stage.note("epoch 1/1")
            progress.warn("busy")
            progress.warn_once("slow")
            progress.warn_once("slow")
            tasks.end(0, "")
        text = capsys.readouterr().err
        assert "WARNING: dense, seed 0: it diverges" in text
        assert "WARNING: busy" in text
        assert text.count("WARNING: slow") == 1
        assert ("epoch 1/1" in text) == isinstance(progress, lines.LineProgress)


def test_quiet_shows_nothing_else(capsys):
    progress = QuietProgress()
    progress.log("reading images")
    with progress.tasks([1.0]) as tasks, progress.stage("dense", 1) as stage:
        tasks.begin(0, "dense")
        stage.advance(1, 1)
        tasks.end(0, "clean 1%")
    assert capsys.readouterr() == ("", "")


def test_other_processes_log_lines_and_those_of_a_terminal_warnings_alone():
    assert isinstance(lines.LineProgress().of_child("x: "), lines.LineProgress)
    assert isinstance(TaskProgress().of_child("x: "), QuietProgress)
    silent = lines.SilentProgress()
    assert silent.of_child("x: ") is silent
