"""The timing table as CSV, Markdown, LaTeX and HTML, of one run and of several."""

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.report import document as documents
from robust_tickets.report.document import Document
from robust_tickets.report.latex import escape
from robust_tickets.report.table_cells import titled_cells
from robust_tickets.report.tables import timing
from robust_tickets.report.timing_text import Published, csv, latex, markdown, table, timing_document
from robust_tickets.runs.directory import RunDirectory

HOSTILE = Document(
    "A & B <c>_d, 8/255",
    "a-0",
    ["arm", "clean % ± sd", "gain, points"],
    [["dense+x_y", "61.0 ± 0.3†", "+0.0"], ["<b>{t}\\", "5~6^7", "-1.2§"]],
    ["**No `x_y` gain** of 5 % & <i>.", "Plain # text."],
)


@pytest.fixture
def other(run, tmp_path):
    """The same run under another name."""
    path = tmp_path / "elsewhere" / "other-12345678"
    shutil.copytree(run.path, path)
    file = path / "recipe.toml"
    file.write_text(re.sub(r'^name = ".*"', 'name = "other"', file.read_text(), count=1, flags=re.MULTILINE))
    return RunDirectory.open(path)


class Cells(HTMLParser):
    """The texts of the cells of a page, row by row, and its elements."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open, self.tags = [], [], []
        self.feed(text)
        assert not self.open, "all elements are closed"

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def latex_rows(text):
    """The cells of a LaTeX table as plain text."""
    inside = text.split("\\toprule")[1].split("\\bottomrule")[0].replace("\\midrule", "")
    lines = [line.removesuffix(" \\\\") for line in inside.strip().splitlines() if line.strip()]
    return [re.split(r"(?<!\\) & ", line) for line in lines]


def test_csv_to_table_and_back_loses_nothing(run, other):
    for runs in ([run], [run, other]):
        read = pd.read_csv(io.StringIO(csv(*runs)))
        again = pd.read_csv(io.StringIO(read.to_csv(index=False)))
        pd.testing.assert_frame_equal(read, again)
        pd.testing.assert_frame_equal(read, table(runs), check_dtype=False, rtol=1e-5)


def test_html_and_latex_have_the_cells_of_the_markdown(run):
    titles, rows = titled_cells(timing(run))
    expected = [titles, *rows]
    lines = [line for line in markdown(run).splitlines() if line.startswith("| ") and "---" not in line]
    assert [line.strip("| ").split(" | ") for line in lines] == expected
    assert Cells(documents.html(timing_document([run]))).rows == expected
    cells = latex_rows(latex(run))
    assert cells[0] == [f"{{{escape(title)}}}" for title in titles]
    assert cells[1:] == [list(map(escape, row)) for row in rows]


def test_what_a_cell_says_is_text_in_every_format():
    page = Cells(documents.html(HOSTILE))
    assert page.rows == [HOSTILE.titles, *HOSTILE.rows]
    assert set(page.tags) <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "strong", "code"}
    text = documents.latex(HOSTILE)
    assert r"dense+x\_y & 61.0 $\pm$ 0.3\dag{} & $+0.0$ \\" in text
    assert r"\textless{}b\textgreater{}\{t\}\textbackslash{} & 5\textasciitilde{}6\textasciicircum{}7" in text
    assert r"$-1.2$\S{}" in text


def test_the_latex_caption_is_one_sentence_and_the_notes_are_below(run):
    text = latex(run)
    caption = re.search(r"\\caption\{(.*)\}$", text, re.MULTILINE)[1]
    assert caption.count(". ") == 0
    assert caption.endswith("seeds 0, 1.")
    assert text.index(r"\bottomrule") < text.index("took 0.80 of the FLOPs") < text.index(r"\end{table}")
    assert r"\textbf{No \texttt{x\_y} gain} of 5 \% \& \textless{}i\textgreater{}." in documents.latex(
        HOSTILE
    )
    for each in (text, documents.latex(HOSTILE)):
        assert "**" not in each
        plain = re.sub(r"\\[\\{}%&#_$]", "", each)
        assert plain.count("{") == plain.count("}")
        assert plain.count("$") % 2 == 0
        assert sorted(re.findall(r"\\begin\{(\w+)\}", each)) == sorted(re.findall(r"\\end\{(\w+)\}", each))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here")
def test_latex_compiles(run, tmp_path):
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    body = latex(run) + documents.latex(HOSTILE)
    (tmp_path / "paper.tex").write_text(f"{head}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_several_runs_stand_one_below_the_other_each_beside_its_own_dense(run, other):
    document = timing_document([run, other])
    assert document.titles[:2] == ["run", "arm"]
    assert [row[:2] for row in document.rows] == [
        [name, arm] for name in (run.recipe.name, "other") for arm in ("dense", "ticket")
    ]
    _, rows = titled_cells(timing(run))
    assert [row[1:] for row in document.rows] == rows * 2
    assert document.notes[0].startswith(f"**{run.recipe.name}**: Against `dense`")
    assert document.notes[1].startswith("**other**: Against `dense`")
    assert list(table([run, other]).run) == [run.recipe.name] * 2 + ["other"] * 2


def test_runs_of_one_name_are_told_apart_by_their_folders_and_one_is_given_once(run, tmp_path):
    path = tmp_path / "second" / run.path.name
    shutil.copytree(run.path, path)
    twin = RunDirectory.open(path)
    assert [row[0] for row in timing_document([run, twin]).rows][::2] == [str(run.path), str(path)]
    with pytest.raises(InputError, match="is given twice: give each run once"):
        table([run, run])


def test_a_published_row_is_marked_and_said_to_be_so(run):
    document = timing_document([run], [Published.parse("Li et al.: 2020: clean 81.2, pgd-20 46.1 ± 0.2")])
    *_, last = document.rows
    cells = dict(zip(document.titles, last, strict=True))
    assert cells["arm"] == "Li et al.: 2020 *"
    assert (cells["clean %"], cells["PGD-20 %"], cells["total s"]) == ("81.2", "46.1 ± 0.2", "-")
    assert document.notes[-1].startswith("Rows with *: published, not measured here (Li et al.: 2020).")
    assert document.rows[:-1] == timing_document([run]).rows


@pytest.mark.parametrize(
    "text", ["", "x", "x: ", ": clean 3", "x: clean", "x: clean good", "x: dirty 3", "x: clean 3,"]
)
def test_a_published_row_that_cannot_be_read_is_refused(text):
    with pytest.raises(InputError, match=r"is not like 'Rice et al\. 2020: clean 85\.3, aa 53\.4'"):
        Published.parse(text)


def test_a_published_share_above_one_is_refused():
    with pytest.raises(InputError, match=r"clean 185\.3 ± 2% is more than 100 %"):
        Published.parse("x: clean 185.3 ± 2%")
    assert Published.parse("x: clean 100, aa 53.4 ± 0.2").figures["clean"] == "100"


def test_a_published_figure_without_a_column_is_refused(run):
    with pytest.raises(InputError, match="this table has no column for aa: leave it out"):
        timing_document([run], [Published.parse("x: aa 53")])


def test_the_command_writes_each_format(run, other, tmp_path, capsys):
    paths = [str(run.path), str(other.path)]
    main(["table", *paths, "--format", "html", "--published", "x: clean 3", "y: clean 4"])
    assert "<td" in (page := capsys.readouterr().out)
    assert page.count("x *") == 1
    main(["table", *paths, "--format", "latex", "--out", str(tmp_path / "t.tex")])
    assert (tmp_path / "t.tex").read_text() == latex(run, other)
    capsys.readouterr()
    for words, message in (
        (["--format", "csv", "--published", "x: clean 3"], "csv has measured rows alone"),
        (["--about", "boosting"], "--about boosting comes as csv or markdown, for one run"),
    ):
        with pytest.raises(SystemExit):
            main(["table", *paths, *words])
        assert message in capsys.readouterr().err
