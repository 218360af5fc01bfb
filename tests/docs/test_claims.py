"""The page of claims is what the committed runs give."""

import tomllib

import pytest

from benchmarks import claims

SOURCE = claims.REFERENCE / "claims.toml"
CLAIMS = [
    each for paper in tomllib.loads(SOURCE.read_text(encoding="utf-8"))["paper"] for each in paper["claim"]
]


@pytest.mark.slow
def test_the_page_is_rendered_from_the_runs():
    assert claims.PAGE.read_text(encoding="utf-8") == claims.page(), "run `make claims`"


def test_every_study_with_verdicts_stands_beside_a_claim():
    """So that no verdict is left out for what it says."""
    named = {claim.get("study") for claim in CLAIMS}
    assert {file.parent.name for file in (claims.REFERENCE / "studies").glob("*/study.toml")} <= named


def test_a_claim_without_a_run_says_what_it_needs():
    for claim in CLAIMS:
        assert ("study" in claim) != ("recipe" in claim)
        assert ("needs" in claim) == ("recipe" in claim)


def test_a_page_that_was_changed_by_hand_is_found(monkeypatch, tmp_path):
    page = tmp_path / "claims.md"
    page.write_text("another verdict", encoding="utf-8")
    monkeypatch.setattr(claims, "PAGE", page)
    monkeypatch.setattr(claims, "page", lambda: "a verdict")
    monkeypatch.setattr("sys.argv", ["claims", "--check"])
    with pytest.raises(SystemExit, match="is not what runs/reference gives: run `make claims`"):
        claims.main()
    assert page.read_text(encoding="utf-8") == "another verdict"
