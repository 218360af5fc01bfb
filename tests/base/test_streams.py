"""Closed and broken streams, and streams of ASCII, cost no run and no table."""

import errno
import io
import os
import subprocess
import sys

import pytest

from robust_tickets.base.progress import LineProgress, stderr_progress

PRINT = r"""
import os, sys
from robust_tickets.base.streams import prepare_streams, complain
prepare_streams()
with open(sys.argv[1], "w") as file:
    os.write(2, b"from a library")
    print("15.0 \u00b1 7.1\u2020 caf\u00e9 \udc80 \u4f60")
    complain("\u00b1")
    file.write("whole")
"""


def run(path, *, closed=(), **environment):
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(
        [sys.executable, "-c", PRINT, str(path)],
        stdout=subprocess.PIPE,
        env=variables,
        check=True,
        preexec_fn=lambda: [os.close(number) for number in closed],
    ).stdout


@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
)
def test_ascii_has_the_same_figures_in_other_signs(environment, tmp_path):
    assert run(tmp_path / "file", **environment) == b"15.0 +- 7.1+ cafe ? ?\n"


def test_other_streams_show_every_sign_but_names_that_are_no_text(tmp_path):
    text = run(tmp_path / "file", PYTHONIOENCODING="utf-8").decode()
    assert text == "15.0 \u00b1 7.1\u2020 caf\u00e9 ? \u4f60\n"


@pytest.mark.parametrize("closed", [(2,), (1, 2), (0, 1, 2)])
def test_nothing_is_written_into_a_file_for_a_stream_that_is_closed(closed, tmp_path):
    run(tmp_path / "file", closed=closed)
    assert (tmp_path / "file").read_text() == "whole"


class Full(io.StringIO):
    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [lambda: None, closed, Full], ids=["none", "closed", "full"])
def test_progress_goes_on_where_stderr_is_gone(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    assert isinstance(stderr_progress(), LineProgress)
    stderr_progress().log("a line")
