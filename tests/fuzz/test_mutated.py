"""Ten thousand damaged files: each is refused in our words or is a valid object.

No crash, no hang, no other exception, and no gigabyte for a small file. Each kind of file is read in a
process of its own, whose address space is limited.
"""

import subprocess
import sys
from pathlib import Path

import pytest

KINDS = ("ticket", "checkpoint", "state", "recipe", "verdicts", "weights", "tar", "zip", "json")
EACH = 1112
HERE = Path(__file__).parent


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_in_words_or_valid(kind, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "reading.py"), kind, str(EACH), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    files, refused = map(int, done.stdout.split()[-2:])
    assert files == EACH
    assert refused > EACH // 4
