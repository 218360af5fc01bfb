"""The page in a real browser: no fault, no request, names, sorting, contrast, the width of a phone."""

from dataclasses import replace

import browser as browsers
import pytest

from robust_tickets.recipe.fields import Compare
from robust_tickets.report.write import write_report
from robust_tickets.runs.directory import RunDirectory

pytestmark = pytest.mark.skipif(browsers.PROGRAM is None, reason="no Chromium is installed")

FIRST_CELLS = "[...document.querySelectorAll('#table tbody tr')].map(row => row.cells[{}].textContent)"
HEAD = "[...document.querySelectorAll('#table thead th')].find(head => head.textContent === '{}')"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browsers.browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def file(tiny_recipe, arm_writer, tmp_path):
    arms = {"dense": 0.30, "dense-short": 0.25, "dense-search-lr": 0.35}
    run = RunDirectory.of(tmp_path, replace(tiny_recipe, compare=Compare(tuple(arms))))
    run.begin("cpu", {})
    for arm, robust in arms.items():
        arm_writer(run, 0, arm, robust, 100)
    write_report(run)
    return run.page


def click(page, title):
    page.evaluate(HEAD.format(title) + ".querySelector('button').click()")
    return page.evaluate(HEAD.format(title) + ".getAttribute('aria-sort')")


def test_no_fault_and_no_request(page, file):
    for scheme in ("light", "dark"):
        page.open(file, prefers_color_scheme=scheme)
        assert page.faults() == []
        assert page.requests() == [file.as_uri()]


def test_a_click_on_a_head_sorts_up_then_down_then_as_it_was(page, file):
    page.open(file)
    original = page.evaluate(FIRST_CELLS.format(0))
    assert original == ["dense", "dense-short", "dense-search-lr"]
    assert click(page, "PGD-20 %") == "ascending"
    assert page.evaluate(FIRST_CELLS.format(0)) == ["dense-short", "dense", "dense-search-lr"]
    assert click(page, "PGD-20 %") == "descending"
    assert page.evaluate(FIRST_CELLS.format(0)) == ["dense-search-lr", "dense", "dense-short"]
    assert click(page, "arm") == "ascending"
    assert page.evaluate(FIRST_CELLS.format(0)) == ["dense", "dense-search-lr", "dense-short"]
    assert page.evaluate("document.querySelectorAll('#table [aria-sort]').length") == 1
    click(page, "arm")
    assert click(page, "arm") is None
    assert page.evaluate(FIRST_CELLS.format(0)) == original
    assert page.faults() == []


def test_everything_that_can_be_used_or_seen_has_a_name(page, file):
    page.open(file)
    nodes = page.ask("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "link", "img", "image", "table", "region", "navigation", "heading", "columnheader"}
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles
    }
    assert {role for role, _ in named} >= {"button", "link", "table", "region", "navigation", "heading"}
    assert any(role in ("img", "image") for role, _ in named)
    assert all(name for _, name in named), sorted(named)


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(width, page, file):
    page.open(file, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


CONTRAST = """
(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => {
    const part = numbers(text).slice(0, 3).map(x => x / 255)
      .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const contrasts = [];
  const kinds = "p, li, a, th, td, code, summary, caption, figcaption, h1, h2";
  for (const element of document.querySelectorAll(kinds)) {
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((x, y) => y - x);
    contrasts.push((a + 0.05) / (b + 0.05));
  }
  return Math.min(...contrasts);
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(scheme, page, file):
    page.open(file, prefers_color_scheme=scheme)
    assert page.evaluate(CONTRAST) >= 4.5  # WCAG's level AA


def test_without_a_script_the_page_reads_the_same(page, file):
    page.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(file)
        assert page.evaluate("document.querySelectorAll('button').length") == 0
        assert page.evaluate(FIRST_CELLS.format(0))[0] == "dense"
    finally:
        page.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_in_print_the_recipe_is_unfolded(page, file, tmp_path):
    page.open(file)
    page.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"
    assert page.evaluate("document.querySelector('details').open")
    assert page.faults() == []
