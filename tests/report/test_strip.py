"""Strips of adversarial images: perturbations at the scale that is written, and strips in the page."""

import numpy as np
import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.data.dataset import Split
from robust_tickets.report.page.strips import find_strips, strips_body
from robust_tickets.report.strip_plot import Strip, strip_figure, visible_perturbation
from robust_tickets.stages.adversarial_images import STRIP, AdversarialImages, Strips


def strip(eps, channels=3, n=4):
    generator = np.random.default_rng(0)
    clean = generator.uniform(0.2, 0.8, (n, 5, 5, channels)).astype(np.float32)
    step = (eps * generator.choice([-1, 1], clean.shape)).astype(np.float32)
    labels = np.arange(n)
    return Strip(clean, clean + step, labels, labels, labels + np.arange(n) % 2)


@pytest.mark.parametrize(("eps", "factor"), [(8 / 255, 15), (0.25, 2), (0.5, 1), (0.9, 1), (0.0, 1)])
def test_the_perturbation_is_as_large_as_its_heading_says(eps, factor):
    own = strip(eps)
    shown, times = visible_perturbation(own)
    assert times == factor
    if eps <= 0.5:
        np.testing.assert_allclose((shown - 0.5) / times, own.adversarial - own.clean, atol=1e-6)
    assert shown.min() >= 0
    assert shown.max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_classes_are_named_and_wrong_ones_are_bold(channels):
    figure = strip_figure(strip(0.1, channels), "pgd-20 at eps 0.1: a net, photos, Linf")
    assert "a net, photos, Linf" in figure.get_suptitle()
    rows = [figure.axes[i : i + 4] for i in (0, 4, 8)]
    assert [ax.get_title() for ax in rows[0]] == [f"class {i}" for i in range(4)]
    assert [ax.get_xlabel() for ax in rows[2]] == ["seen as 0", "seen as 2", "seen as 2", "seen as 4"]
    assert [ax.xaxis.label.get_fontweight() for ax in rows[2]] == ["normal", "bold"] * 2
    assert "× 5\n" in rows[1][0].get_ylabel()


def album(folder, n=12, broken_from=9):
    """An album of n samples, of which the last few broke; class 5 is seen in every attacked image."""
    images = torch.full((n, 3, 4, 4), 0.75)
    split = Split(torch.full((n, 3, 4, 4), 127, dtype=torch.uint8), torch.arange(n) % 10, torch.arange(n))
    made = AdversarialImages(folder)
    made.at("8/255")("pgd-20", split, images, torch.arange(n) >= broken_from)
    asked = []

    def predict(batch):
        asked.append(batch)
        return torch.full((len(batch),), 5)

    made.write(Strips(predict, "a net, photos, Linf"))
    return asked


def test_an_evaluation_writes_strips_of_samples_that_broke_first(tmp_path):
    clean, attacked = album(tmp_path / "album")
    assert len(clean) == len(attacked) == STRIP
    assert attacked.unique().tolist() == [0.75]
    svg = (tmp_path / "album" / "pgd-20-strip.svg").read_text()
    assert "pgd-20 at eps 8/255: a net, photos, Linf" in svg
    classes = [int(part.split("<")[0]) for part in svg.split(">class ")[1:]]
    assert classes == [9, 0, 1, 0, 1, 2, 3, 4]  # samples 9, 10 and 11, then the first ones
    assert (tmp_path / "album" / "pgd-20-strip.png").read_bytes()[:4] == b"\x89PNG"


def test_the_page_shows_the_strips_of_a_folder(run, tmp_path, capsys):
    album(tmp_path / "album")
    main(["report", str(run.path), "--images", str(tmp_path / "album")])
    text = run.page.read_text()
    assert text.count('<img src="data:image/png;base64,') == 1
    assert 'alt="Clean images, perturbations and adversarial images under pgd-20"' in text
    assert ">Adversarial images</h2>" in text
    assert len(text) < 3_000_000


def test_a_folder_without_strips_or_with_other_files_is_refused(run, tmp_path):
    with pytest.raises(InputError, match=r"has no strips of adversarial images .*--save-images"):
        find_strips(tmp_path)
    file = tmp_path / "x-strip.png"
    file.write_text("<svg onload='alert(1)'>")
    with pytest.raises(InputError, match=r"is no PNG file: make it again"):
        strips_body([file])
