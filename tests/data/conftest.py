"""What tests of own images share."""

import pytest

from robust_tickets.data import folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, and nothing kept in the process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ROBUST_TICKETS_FOLDER", raising=False)
    folder._read.clear()
    return tmp_path / "cache" / "robust-tickets"
