"""Contrasts over parts of an experiment are weighted sums, seed by seed."""

import numpy as np
import pandas as pd

from benchmarks import experiment_contrasts
from benchmarks.experiment_contrasts import differences, judged_contrasts, write_contrasts

WIDTHS = (0.125, 0.25, 0.5)


def figures(seeds):
    """Heights of two arms at three widths, drawn once."""
    draw = np.random.default_rng(0)
    rows = [
        {"part": f"width-{width}", "arm": arm, "seed": seed, "early_clean": draw.uniform()}
        for width in WIDTHS
        for arm in ("ticket", "dense")
        for seed in seeds
    ]
    return pd.DataFrame(rows)


def slope():
    """The least-squares slope of ticket - dense over log2(width), as a plan has it."""
    weights = dict(zip(WIDTHS, (-0.5, 0.0, 0.5), strict=True))
    terms = [
        [sign * weight, f"width-{width}", arm]
        for width, weight in weights.items()
        for arm, sign in (("ticket", 1), ("dense", -1))
    ]
    return {"label": "slope", "figure": "early_clean", "terms": terms}


def test_the_weights_of_a_slope_give_numpys():
    table = figures([10, 11])
    for seed, value in differences(table, slope()).items():
        of_seed = table[table.seed == seed].pivot_table("early_clean", "part", "arm")
        advantage = (of_seed.ticket - of_seed.dense).loc[[f"width-{width}" for width in WIDTHS]]
        assert np.isclose(value, np.polyfit(np.log2(WIDTHS), advantage, 1)[0])


def test_a_seed_that_lacks_a_term_is_left_out_and_a_part_that_has_not_run_gives_none():
    table = figures([10, 11])
    without = table[(table.seed != 11) | (table.arm != "dense")]
    assert list(differences(without, slope())) == [10]
    assert differences(table[table.part != "width-0.5"], slope()) == {}


def test_contrasts_are_corrected_together():
    table = figures([10, 11, 12])
    alone, (first, second) = judged_contrasts(table, [slope()]), judged_contrasts(table, [slope(), slope()])
    assert first.corrected == second.corrected == min(1.0, 2 * alone[0].p_value)


def test_the_page_has_the_contrasts_and_a_mean_of_each_arm(tmp_path, monkeypatch):
    table = figures([10, 11, 12])[["part", "arm", "seed", "early_clean"]]
    monkeypatch.setattr(experiment_contrasts, "figures_of", lambda *arguments: table)
    later = {**slope(), "label": "later", "terms": [[1.0, "width-1", "ticket"], [-1.0, "width-1", "dense"]]}
    write_contrasts(tmp_path, {"contrasts": [slope(), later]})
    lines = (tmp_path / "contrasts.md").read_text().splitlines()
    value = 100 * np.mean(list(differences(table, slope()).values()))
    assert f"- slope: {value:+.1f} points" in lines[4]
    assert lines[5] == "- later: no seed yet"
    of_dense = table[(table.part == "width-0.5") & (table.arm == "dense")].early_clean
    assert lines[-1].startswith(f"| width-0.5 | dense | 3 | {100 * of_dense.mean():.1f} (")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "contrasts.csv"), table, atol=1e-6)
