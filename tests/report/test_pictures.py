"""Pictures of a run: titles, legends beside the data, lines that can be told apart, and what is left out."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from robust_tickets.evaluation.robustness_csv import read_rows
from robust_tickets.recipe.arms import ARMS, arm_names
from robust_tickets.recipe.fields import Compare, Model
from robust_tickets.recipe.methods import METHODS
from robust_tickets.report.arm_styles import DASHES, MARKERS, PALETTE, arm_styles
from robust_tickets.report.figures import image
from robust_tickets.report.pictures.all_pictures import PICTURES
from robust_tickets.report.pictures.layers import layer_densities
from robust_tickets.report.pictures.phases import PHASES_PICTURE
from robust_tickets.report.units import unit
from robust_tickets.report.write import write_pictures, write_report
from robust_tickets.runs import tensor_file
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json, write_json, write_jsonl

BY_NAME = {picture.name: picture for picture in PICTURES}
PHASES = {"attack": 5.0, "update": 3.0, "data": 0.5, "validate": 1.0, "load": 0.25, "other": 1.5}


def complete(run):
    """Give the made-up run all that pictures are drawn from."""
    for seed in (0, 1):
        for arm in ("dense", "ticket"):
            folder = run.arm(seed, arm)
            ledger = read_json(folder.ledger)
            flops = {"attack": ledger["charged_flops"] - 10, "update": 10, "validate": 3}
            write_json(folder.ledger, ledger | {"seconds": PHASES, "flops": flops, "epoch_seconds": [10.0]})
            rows = folder.robustness.read_text().splitlines()
            more = [row.replace(",0.1,", ",0.05,") for row in rows[1:] if "pgd-20" in row]
            folder.robustness.write_text("\n".join([*rows, *more]) + "\n")
        history = [
            {"round": place, "epoch": epoch, "mask_distances": [0.3 / epoch] * (epoch - 1)}
            for place in (1, 2)
            for epoch in (1, 2, 3)
        ]
        write_jsonl(run.search(seed).metrics, history)
        write_ticket(run, seed)
    return run


def write_ticket(run, seed):
    kept = {
        "a.weight": torch.tensor([True] * 5 + [False] * 7),
        "b.weight": torch.ones(3, 1, dtype=torch.bool),
    }
    tensors = {f"init/{name}": torch.zeros(mask.shape) for name, mask in kept.items()}
    bits = {
        f"mask/{name}": torch.from_numpy(np.packbits(mask.numpy().reshape(-1))) for name, mask in kept.items()
    }
    tensor_file.save(run.search(seed).ticket, "ticket", tensors | bits, {"mask": list(kept)})


@pytest.fixture
def whole(run):
    return complete(run)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_picture_names_data_network_threat_and_seeds_and_its_legend_covers_nothing(name, whole):
    picture = BY_NAME[name]
    assert picture.missing(whole) == ""
    figure = picture.draw(whole)
    title = figure.get_suptitle()
    assert all(
        word in title for word in ("made up", "lenet-300-100 at width 0.2", "Linf 0.1", "seeds 0, 1")
    ), title
    assert image(figure)[:5] == b"<?xml"
    boxes = [legend.get_window_extent() for legend in figure.legends]
    panels = [ax.get_tightbbox() for ax in figure.axes]
    assert boxes
    assert not [ax for ax in figure.axes if ax.get_legend()]
    assert not [1 for box in boxes for panel in panels if box.overlaps(panel)]
    whole_figure = figure.bbox
    assert all(whole_figure.contains(*corner) for box in boxes for corner in (box.min, box.max))


@pytest.mark.parametrize("name", BY_NAME)
def test_the_same_files_give_the_same_bytes_and_a_png_is_one(name, whole):
    picture = BY_NAME[name]
    assert picture.image(whole) == picture.image(whole)
    first = picture.image(whole, "png")
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert first == picture.image(whole, "png")


def test_a_picture_without_data_is_left_out_with_the_reason(run):
    written = {file.stem for file in write_pictures(run)}
    assert written == {"frontier", "curves", "epochs"}
    reasons = {name: picture.missing(run) for name, picture in BY_NAME.items() if name not in written}
    assert "`dense` do not have seconds" in reasons["phases"]
    assert "--eps 2/255" in reasons["over-eps"]
    assert "seed-0/search/ticket.safetensors" in reasons["layers"]
    assert "no distances between masks" in reasons["mask-distance"]
    assert "Seconds are left out" in BY_NAME["curves"].caption(run)
    assert not [name for name in reasons if (run.path / f"{name}.svg").exists()]


def test_the_report_writes_what_the_pictures_are(whole):
    write_report(whole)
    for name, picture in BY_NAME.items():
        assert (whole.path / f"{name}.svg").read_bytes() == picture.image(whole)
    write_pictures(whole, "png")
    assert (whole.path / "layers.png").read_bytes()[:4] == b"\x89PNG"


def test_without_a_ticket_there_is_no_search_to_draw(tiny_recipe, arm_writer, tmp_path):
    run = RunDirectory.of(tmp_path, replace(tiny_recipe, compare=Compare(("dense", "dense-short"))))
    run.begin("cpu", {})
    for arm in ("dense", "dense-short"):
        arm_writer(run, 3, arm, 0.3, 100)
    assert BY_NAME["layers"].missing(run) == BY_NAME["mask-distance"].missing(run) == "No arm has a ticket."
    assert "seed 3" in BY_NAME["epochs"].draw(run).get_suptitle().splitlines()[1]


def test_densities_are_those_of_the_mask(whole):
    assert layer_densities(whole, 0) == {"a": 5 / 12, "b": 1.0}


def test_bars_add_up_to_what_the_ledgers_have(whole):
    figure = PHASES_PICTURE.draw(whole)
    widths = {}
    for bar in figure.axes[0].patches:
        place = round(bar.get_y() + bar.get_height() / 2)
        widths[place] = widths.get(place, 0.0) + bar.get_width()
    total = sum(PHASES.values())
    assert widths == {0: pytest.approx(total), 1: pytest.approx(total + 3.0)}, (
        "the search is charged to ticket"
    )
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[10.0, 10.0], [8.0, 8.0]]


def test_robustness_over_eps_takes_rows_of_as_many_images(whole):
    assert BY_NAME["over-eps"].missing(whole) == ""
    for seed in (0, 1):
        for arm in ("dense", "ticket"):
            file = whole.arm(seed, arm).robustness
            rows = read_rows(file)
            rows.loc[rows.eps == "0.05", "n"] = 20
            rows.to_csv(file, index=False)
    assert "as many images" in BY_NAME["over-eps"].missing(whole)


def test_each_seed_has_its_line_in_every_panel(whole):
    figure = BY_NAME["curves"].draw(whole)
    assert len(figure.axes) == 4
    for ax in figure.axes:
        assert len(ax.lines) == 2 * (2 + 1)  # two arms: a line each of two seeds, and the mean
    flops, seconds = figure.axes[:2]
    starts = [min(line.get_xdata()) for line in flops.lines]
    assert starts == [100] * 3 + [30 + 50] * 3, "the search is charged to the ticket"
    assert max(line.get_xdata()[-1] for line in seconds.lines) == 3 + 10


# Machado et al. 2009, severity 1, on linear RGB
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(colour, matrix):
    """CIE Lab of a colour as somebody with that vision sees it."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", BLINDNESS)
def test_colours_are_told_apart_by_everybody_and_seen_on_white(vision):
    seen = [lab(colour, BLINDNESS[vision]) for colour in ("#000000", *PALETTE)]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15
    assert max(colour[0] for colour in seen) < 80  # lightness; white has 100


def test_no_arm_is_lost_on_white():
    assert not [name for name, arm in ARMS.items() if lab(arm.colour, np.eye(3))[0] >= 80]


@pytest.mark.parametrize(
    "arms",
    [
        arm_names(),
        [f"dense+{method}" for method in METHODS] + [f"ticket+{method}" for method in METHODS],
        ["dense", "ticket", *(f"dense+x{i}" for i in range(26))],
    ],
    ids=["table", "methods", "many"],
)
def test_no_two_arms_of_a_plot_have_the_same_line_or_the_same_marker(arms):
    styles = arm_styles(arms)
    assert list(styles) == list(arms)
    lines = {(style.colour, style.dash) for style in styles.values()}
    marks = {(style.marker, style.hollow) for style in styles.values()}
    assert len(lines) == len(marks) == len(arms)
    for name, style in styles.items():
        if "+" not in name:
            assert style.colour == ARMS[name].colour


def test_the_first_arms_have_colours_of_their_own():
    arms = ["dense", *(f"dense+x{i}" for i in range(7)), "dense+x7"]
    colours = [style.colour for style in arm_styles(arms).values()]
    assert len(set(colours[:8])) == 8
    assert colours[8] == colours[1]
    with pytest.raises(ValueError, match="more than a plot can tell apart"):
        arm_styles(f"dense+x{i}" for i in range(2 * len(MARKERS) + 1))
    assert len(DASHES) * len(PALETTE) == 2 * len(MARKERS)


@pytest.mark.parametrize(
    ("cost", "largest", "name"),
    [
        ("flops", 3e12, "TFLOPs"),
        ("flops", 1, "FLOPs"),
        ("seconds", 119, "seconds"),
        ("seconds", 7200, "hours"),
    ],
)
def test_units_leave_two_at_least(cost, largest, name):
    assert unit(cost, largest)[1] == name
    if largest >= 2:
        assert largest >= 2 * unit(cost, largest)[0]


def test_many_arms_and_a_long_name_leave_the_title_whole(tiny_recipe, arm_writer, tmp_path):
    name = f"a_module_{'x' * 120}:build_$net$"
    recipe = replace(tiny_recipe, compare=Compare(("dense", "dense-short")), model=Model(name))
    run = RunDirectory.of(tmp_path, recipe)
    run.begin("cpu", {})
    for arm in recipe.compare.arms:
        arm_writer(run, 0, arm, 0.3, 100)
    figure = BY_NAME["epochs"].draw(run)
    figure.draw_without_rendering()
    assert "$net$" in figure.get_suptitle().replace("\n", "")
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert all(a <= b for a, b in pairwise([0, box.y0, box.y1, figure.bbox.y1]))
