"""Of several attempts at a task the last one alone changes files."""

import threading
from pathlib import Path

import pytest

from robust_tickets.base.signals import StopRequest
from robust_tickets.comparison.executors.attempts import attempt
from robust_tickets.runs import files


def test_an_earlier_attempt_stops_before_its_next_file(tmp_path: Path) -> None:
    file = tmp_path / "result"

    def another() -> None:
        with attempt(tmp_path, "a"):
            files.write_text(file, "last")

    with attempt(tmp_path, "a"):
        files.write_text(file, "first")
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
        with pytest.raises(StopRequest):
            files.write_text(file, "first")
        with pytest.raises(StopRequest):
            files.remove(file)
    assert file.read_text() == "last"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_attempts_at_other_tasks_do_not_disturb(tmp_path: Path) -> None:
    with attempt(tmp_path, "a"), attempt(tmp_path, "b"):
        files.write_text(tmp_path / "result", "b")
    assert not list(tmp_path.glob(".*"))
    with attempt(None, "a"):
        files.write_text(tmp_path / "result", "a")


def test_the_mark_of_an_attempt_that_fails_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a fault"), attempt(tmp_path, "a"):
        raise ValueError("a fault")
    assert not list(tmp_path.iterdir())
