"""The page of a report: nothing from elsewhere, nothing unescaped, the tables' own texts, the same bytes."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.recipe.fields import Compare, Data, Model
from robust_tickets.report.boosting_table import boosting_markdown
from robust_tickets.report.frontier_answers import Question
from robust_tickets.report.frontier_runs import read_frontier
from robust_tickets.report.frontier_table import frontier_markdown
from robust_tickets.report.page.inline_svg import inline_svg
from robust_tickets.report.page.markup import element, prose
from robust_tickets.report.page.page import report_page
from robust_tickets.report.page.table import sort_value, table
from robust_tickets.report.pictures.all_pictures import PICTURES, draw_pictures
from robust_tickets.report.timing_text import markdown
from robust_tickets.report.write import write_report
from robust_tickets.runs.directory import RunDirectory
from robust_tickets.runs.files import read_json, write_json

VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "net:build_<script>alert(1)</script>&amp;\"'"


class Reader(HTMLParser):
    """Elements, attributes, texts and tables of a page; every element must be closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.tables, self.headings = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        assert len(attributes) == len(dict(attributes)), "an attribute twice"
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append([int(tag[1]), ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self.open and self.open[-1] in ("h1", "h2", "h3", "h4"):
            self.headings[-1][1] += data

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def page(*runs):
    return report_page(runs, [draw_pictures(run) for run in runs])


def words(*runs):
    """The page without its pictures, which take long to draw."""
    return report_page(runs, [{} for _ in runs])


def markdown_cells(text):
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [cells[0], *cells[2:]]


@pytest.fixture
def named(tiny_recipe, arm_writer, tmp_path):
    """A run of one seed whose network, data and machine have names with markup in them."""
    recipe = replace(tiny_recipe, compare=Compare(("dense", "dense-short")), model=Model(HOSTILE))
    run = RunDirectory.of(tmp_path / "<b>runs", recipe)
    run.begin("cpu", {"images": "f<i>"})
    write_json(run.machine_file, read_json(run.machine_file) | {"cpu": "<img src=x onerror=alert(2)>"})
    for arm in recipe.compare.arms:
        arm_writer(run, 0, arm, 0.3, 100)
        record = run.arm(0, arm).record
        write_json(record, read_json(record) | {"data": "<b>photos</b> & `more`"})
    return run


def test_nothing_comes_from_elsewhere(run):
    text = page(run)
    reader = Reader(text)
    tags = Counter(tag for tag, _ in reader.elements)
    assert not tags.keys() & {"link", "img", "iframe", "object", "embed", "base", "image", "video", "audio"}
    assert tags["script"] == tags["style"] == 1
    assert not reader.attributes("src")
    assert all(
        href.startswith("#") for href in [*reader.attributes("href"), *reader.attributes("xlink:href")]
    )
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]{0,2})", text)) <= {
        f"#{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"
    }
    policy = next(a["content"] for _, a in reader.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert len(text.encode()) < 3_000_000


def test_ids_are_unique_and_every_reference_has_its_target(run):
    for text in (page(run), page(run, run)):
        reader = Reader(text)
        ids = Counter(reader.attributes("id"))
        assert max(ids.values()) == 1
        targets = [href[1:] for href in reader.attributes("href")] + reader.attributes("aria-labelledby")
        targets += re.findall(r"url\(#([^)]+)\)", text)
        assert set(targets) <= ids.keys()


def test_the_page_is_a_document_that_can_be_navigated(run):
    text = page(run)
    reader = Reader(text)
    assert text.startswith("<!DOCTYPE html>\n")
    tags = Counter(tag for tag, _ in reader.elements)
    assert [tags[name] for name in ("html", "title", "main", "nav", "header", "footer", "h1")] == [1] * 7
    assert dict(reader.elements)["html"] == {"lang": "en"}
    levels = [level for level, _ in reader.headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert [words for _, words in reader.headings][1:] == [
        "Question and answer", "The table", "The frontier", "Pictures", "Early advantage", "Sanity checks",
        "Recipe", "Environment", "How to reproduce", "Where the files are",
    ]  # fmt: skip
    assert tags["caption"] == tags["table"]
    assert all("scope" in attributes for tag, attributes in reader.elements if tag == "th")
    assert all(attributes["aria-label"] for tag, attributes in reader.elements if tag == "svg")
    assert tags["svg"] == tags["figure"] == tags["figcaption"] == 3


def test_tables_have_the_texts_of_the_markdown(run):
    tables = Reader(words(run)).tables
    frontier = read_frontier([run])
    expected = [markdown(run), frontier_markdown(frontier, Question()), boosting_markdown(run)]
    assert tables[:3] == [markdown_cells(text) for text in expected]


def test_paragraphs_under_the_table_are_there(run):
    text = words(run)
    for paragraph in markdown(run).split("\n\n")[2:]:
        assert prose(paragraph.strip()) in text


def test_names_with_markup_stay_text(named):
    text = page(named)
    reader = Reader(text)
    assert sum(tag == "script" for tag, _ in reader.elements) == 1
    assert not [tag for tag, _ in reader.elements if tag in ("img", "b", "i")]
    assert "&lt;img src=x onerror=alert(2)&gt;" in text
    assert "build_&lt;script&gt;" in text
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert not reader.attributes("onerror")


def test_the_same_files_give_the_same_bytes_and_a_comparison_writes_what_report_writes(run, capsys):
    write_report(run)
    first = {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()}
    assert {"report.html", "curves.svg", "timing.md"} <= first.keys()
    main(["report", str(run.path)])
    assert capsys.readouterr().out == f"{run.page}\n"
    assert {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()} == first


def test_too_few_seeds_are_said_in_words(run):
    assert "Two seeds are too few." in words(run)
    run.arm(1, "ticket").ledger.unlink()
    text = words(run)
    assert "One seed is too few." in text
    assert "--seeds 3" in text
    assert "Left out, until" in text
    assert "(there is no seed-1/ticket/ledger.json)" in text
    assert str(run.path) not in text


def test_a_busy_machine_and_several_machines_are_said_in_words(run):
    assert "busy" not in words(run)
    ledger = run.arm(0, "dense").ledger
    write_json(ledger, read_json(ledger) | {"jobs": 4, "warnings": ["epoch 2 took twice as long"]})
    own = read_json(run.machine_file)
    write_json(run.machine_file, own | {"others": [own | {"cpu": "an abacus"}]})
    text = words(run)
    assert "Jobs ran side by side.</strong> Seconds with a † were taken while up to 4 jobs ran" in text
    assert "2 machines computed this run." in text
    assert text.count("epoch 2 took twice as long") == 1
    assert ["cpu", own["cpu"], "an abacus"] in [row for rows in Reader(text).tables for row in rows]


def test_three_seeds_on_a_quiet_machine_need_no_caution(run, arm_writer):
    for arm in ("dense", "ticket"):
        arm_writer(run, 2, arm, 0.3, 100)
    (run.path / "seed-2" / "search").mkdir()
    run.search(2).ledger.write_bytes(run.search(0).ledger.read_bytes())
    text = words(run)
    assert 'class="cautions"' not in text
    assert "too few" not in text


def test_a_missing_picture_is_explained(run):
    text = page(run)
    drawings = draw_pictures(run)
    absent = [picture for picture in PICTURES if picture.name not in drawings]
    assert len(absent) == 4
    for picture in absent:
        assert f"{prose(f'**{picture.heading}** is left out. {picture.missing(run)}')}</p>" in text


def test_sanity_checks_are_counted_and_failures_placed(run):
    assert "No sanity checks lie beside" in words(run)
    about = {"split": "test", "eps": "0.1", "norm": "Linf", "seed": 0, "n": 50}
    for arm in ("dense", "ticket"):
        check = {"name": "noise < hardly hurts", "figure": "9 %", "passed": arm == "dense", "otherwise": "so"}
        report = {"about": about, "checks": [check], "samples": 40, "passes": {"forward": 9}}
        for seed in (0, 1):
            file = run.arm(seed, arm).path / "sanity-last-00000001.json"
            file.write_text(json.dumps(report))
    text = words(run)
    assert "2 of 4 checks passed" in text
    off = replace(run, recipe=replace(run.recipe, evaluate=replace(run.recipe.evaluate, sanity="off")))
    assert "The recipe asks for none." in words(off)
    where = "ticket (seed 0, last): 9 %; ticket (seed 1, last): 9 %"
    assert ["noise < hardly hurts", "2 of 4", where] in Reader(text).tables[3]


@pytest.mark.parametrize(
    ("data", "seeds", "lines"),
    [
        ("digits", [0, 1], ["robust-tickets compare --recipe recipe.toml --seed 0 --seeds 2"]),
        (
            "cifar10",
            [1, 4, 5],
            [
                "robust-tickets compare --recipe recipe.toml --data.root DIR --seed 1 --seeds 1",
                "robust-tickets compare --recipe recipe.toml --data.root DIR --seed 4 --seeds 2",
            ],
        ),
    ],
)
def test_the_commands_name_the_seeds(data, seeds, lines, tiny_recipe, arm_writer, tmp_path):
    arms = ("dense", "dense-short")
    run = RunDirectory.of(tmp_path, replace(tiny_recipe, data=Data(data), compare=Compare(arms)))
    run.begin("cpu", {"images": "0123"})
    for seed in seeds:
        for arm in arms:
            arm_writer(run, seed, arm, 0.3, 100)
    assert f"<code>{chr(10).join(lines)}</code>" in words(run)


def test_several_runs_share_a_frontier_or_say_why_not(run, named, tmp_path, capsys):
    out = tmp_path / "both.html"
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    main(["report", str(run.path), str(run.path), "--out", str(out)])
    assert capsys.readouterr().out == f"{out}\n"
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == before
    assert out.read_text() == page(run, run)
    assert "arms of all runs" in out.read_text()
    text = words(run, named)
    assert "They have no common frontier" in text
    assert str(run.path) not in text
    assert str(named.path) not in text
    assert [level for level, _ in Reader(text).headings[:3]] == [1, 2, 2]


@pytest.mark.parametrize("name", ["page.pdf", "folder"])
def test_a_page_is_written_as_a_web_page_alone(name, run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["report", str(run.path), "--out", str(tmp_path / name)])
    assert "is no name of a web page: end it in .html" in capsys.readouterr().err


def test_several_runs_without_a_file_are_refused(run, capsys):
    with pytest.raises(SystemExit):
        main(["report", str(run.path), str(run.path)])
    assert "name its file by --out FILE" in capsys.readouterr().err


def test_a_run_without_a_complete_seed_writes_nothing(run, tmp_path):
    for seed in (0, 1):
        run.arm(seed, "ticket").ledger.unlink()
    with pytest.raises(InputError, match="no seed"):
        write_report(run)
    assert not run.page.exists()


def test_png_files_come_where_they_are_asked_for(run, capsys):
    main(["report", str(run.path), "--png"])
    lines = capsys.readouterr().out.split()
    assert [line for line in lines if line.endswith(".png")] == [
        str(run.path / f"{name}.png") for name in ("frontier", "curves", "epochs")
    ]
    assert all((run.path / line).read_bytes() for line in lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("36.7 ± 0.4", "36.7"), ("1,289†", "1289"), ("-0.3", "-0.3"), ("+1.1 (-1.0 to +1.3)", "1.1"),
        ("100%", "100"), ("inf", "Infinity"), ("-", ""), ("", ""), ("3 of 3", "3"), ("yes", ""),
    ],
)  # fmt: skip
def test_a_cell_is_sorted_by_its_first_number(text, value):
    assert sort_value(text) == value


def test_a_column_of_numbers_is_told_from_one_of_texts():
    rows = [["a", "1.0", "yes"], ["b", "-", "no: a"]]
    kinds = re.findall(r'<th scope="col" class="(\w+)"', table(["x", "y", "z"], rows, "c"))
    assert kinds == ["text", "number", "text"]


def test_markup_of_texts():
    assert prose("**a < b** and `c & d`") == "<strong>a &lt; b</strong> and <code>c &amp; d</code>"
    assert element("p", "x", class_="a", aria_label='"') == '<p class="a" aria-label="&quot;">x</p>'


def test_a_drawing_keeps_nothing_that_other_drawings_could_meet():
    svg = (
        b'<?xml version="1.0"?><!DOCTYPE svg><svg xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" '
        b'viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg"><metadata>x</metadata><defs>\n'
        b'<style type="text/css">*{fill: red}</style>\n</defs><g id="a"><use xlink:href="#a" '
        b'clip-path="url(#a)"/></g></svg>'
    )
    assert inline_svg(svg, "p", 'of "x"') == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="of &quot;x&quot;"><g id="p-a"><use href="#p-a" '
        'clip-path="url(#p-a)"/></g></svg>'
    )
