"""The page of claims is what the committed runs give."""

import tomllib

import pandas as pd
import pytest

from benchmarks import claims, experiment_claims, experiments
from benchmarks.experiment_claims import experiment_lines

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


def test_every_experiment_stands_there():
    named = {claim.get("experiment") for claim in CLAIMS}
    assert {file.parent.name for file in claims.REFERENCE.glob("*/plan.toml")} <= named


def test_an_experiment_is_judged_once_all_seeds_have_run(tmp_path, monkeypatch):
    folder = tmp_path / "small"
    folder.mkdir()
    terms = [[1.0, "wide", "ticket"], [-1.0, "wide", "dense"]]
    plan = {"seeds": [1, 2, 3], "parts": {"wide": {}}}
    plan["contrasts"] = [{"label": "ticket - dense", "figure": "early_clean", "terms": terms}]
    monkeypatch.setattr(experiments, "REFERENCE", tmp_path)
    monkeypatch.setattr(experiments, "read_plan", lambda folder: plan)
    for seed in (1, 2):
        (folder / "wide" / "run" / f"seed-{seed}").mkdir(parents=True)
    (line,) = experiment_lines("small")
    assert line.startswith("*not finished*: 2 of 3 seeds have run.")
    (folder / "wide" / "run" / "seed-3").mkdir()
    rows = [
        ("wide", arm, seed, 0.5 + 0.1 * (arm == "ticket") + 0.001 * seed * (arm == "dense"))
        for arm in ("dense", "ticket")
        for seed in (1, 2, 3)
    ]
    figures = pd.DataFrame(rows, columns=["part", "arm", "seed", "early_clean"])
    monkeypatch.setattr(experiment_claims, "figures_of", lambda *arguments: figures)
    monkeypatch.setattr(experiment_claims, "doubtful_rows", lambda part: {})
    (line,) = experiment_lines("small")
    assert line.startswith("ticket - dense: +9.8 points")
    assert line.endswith("shown to be more.")
    monkeypatch.setattr(experiment_claims, "doubtful_rows", lambda part: {"ticket": "no gradient"})
    assert next(experiment_lines("small")) == (
        "**Not to be believed: `ticket` (no gradient). Contrasts with it count as undecided.**"
    )


def test_a_claim_without_a_run_says_what_it_needs():
    for claim in CLAIMS:
        assert len({"study", "recipe", "experiment", "figures"} & set(claim)) == 1
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
