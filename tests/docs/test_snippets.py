"""Every command and snippet of the documentation runs, or is read by the code that would run it."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from doc_blocks import Block, blocks, code_spans
from quick_comparison import quick_comparisons
from snippet_names import names_of_snippets
from snippet_table import COMMANDS, NOT_RUN, REPLACED, Not, Slow

from robust_tickets.cli.main import main
from robust_tickets.cli.parse import parse
from robust_tickets.cli.registry import COMMANDS as PROGRAMS
from robust_tickets.cli.registry import flag_sections, split_name
from robust_tickets.recipe import recipe as recipes

LANGUAGES = {"bash", "python", "toml", "text", "yaml"}
FAQ = "docs/faq.md"  # test_faq.py runs its blocks
SHELL = [block for block in blocks("bash") if block.page != FAQ]
PYTHON = [block for block in blocks("python") if block.page != FAQ]


def is_slow(block: Block) -> bool:
    return any(isinstance(COMMANDS.get(command), Slow) for command in block.commands)


def marked(found: list[Block]) -> list[object]:
    return [
        pytest.param(block, marks=[pytest.mark.slow] if is_slow(block) else [], id=str(block))
        for block in found
    ]


def write_files(page: str, folder: Path) -> None:
    """Write the blocks of a page that are files: their first line is `# NAME.py`."""
    for block in PYTHON:
        name = file_name(block)
        if block.page == page and name:
            (folder / name).write_text(block.text)


def file_name(block: Block) -> str:
    match = re.match(r"# (\w+\.py)\n", block.text)
    return match[1] if match else ""


def filled(text: str) -> str:
    """A text with `runs/...` replaced by the newest run directory that has what follows."""

    def newest(match: re.Match[str]) -> str:
        paths = [path for path in Path().glob(match[0].replace("...", "*")) if "reference" not in path.parts]
        assert paths, f"no {match[0]}"
        return max(paths, key=lambda path: path.stat().st_mtime_ns).as_posix()

    return re.sub(r"runs/[\w-]*\.\.\.[\w/.-]*", newest, text)


def changed(words: list[str], flags: str) -> list[str]:
    """A command with other flags; those that it has already are taken out first."""
    more = shlex.split(flags)
    names = {word for word in more if word.startswith("--")}
    kept, dropping = [], False
    for word in words:
        if word.startswith("--"):
            dropping = word in names
        if not dropping:
            kept.append(word)
    return kept + more


def test_every_block_is_of_a_kind_that_is_tested():
    assert not [str(block) for block in blocks() if block.language not in LANGUAGES]


def test_the_table_has_every_command_and_no_other():
    assert {command for block in SHELL for command in block.commands} == COMMANDS.keys()


def test_the_cluster_on_kubernetes_serves_the_port_that_the_command_names():
    (block,) = blocks("yaml")
    spec = yaml.safe_load(block.text)["spec"]
    (worker,), (scheduler,) = (spec[part]["spec"]["containers"] for part in ("worker", "scheduler"))
    assert worker["args"][:4] == ["dask", "worker", "--nthreads", "1"]
    ports = {port["name"]: port["containerPort"] for port in scheduler["ports"]}
    served = {port["port"]: ports[port["targetPort"]] for port in spec["scheduler"]["service"]["ports"]}
    assert served[8786] == 8786
    assert any("dask://localhost:8786" in command for command in COMMANDS)


def test_each_block_of_python_that_is_not_run_is_there():
    assert {block.page for block in PYTHON} >= NOT_RUN
    for page, pairs in REPLACED.items():
        text = "".join(block.text for block in PYTHON if block.page == page)
        assert all(old in text for old in pairs)


def test_every_flag_and_command_in_the_text_exists():
    flags = {
        spelling
        for name in PROGRAMS
        for section in flag_sections(name)
        for flag in section.flags
        for spelling in flag.names
    }
    flags |= {"--help", "--version"}
    assert len(code_spans()) > 500
    for page, span in code_spans():
        words = span.split()
        if words[0] in ("python", "pip", "tensorboard"):
            continue
        if words[0] == "robust-tickets" and words[1:2] not in ([], ["COMMAND"]):
            split_name(words[1:])
        for word in words:
            if re.match(r"--[a-z][^A-Z]*$", word):  # capitals stand for a name
                assert word.partition("=")[0].replace("_", "-") in flags, (page, span)


@pytest.mark.parametrize("block", marked(SHELL))
def test_commands(block, workspace, capsys):
    write_files(block.page, workspace)
    for command in block.commands:
        words = shlex.split(filled(command) if not isinstance(COMMANDS[command], Not) else command)
        program, *words = words
        how = COMMANDS[command]
        if isinstance(how, Not):
            if program == "robust-tickets":
                parse(*split_name(words))
        elif program == "python":
            script = [sys.executable, *changed(words, how)]
            subprocess.run(script, check=True, capture_output=True, timeout=600)
        else:
            assert program == "robust-tickets"
            with quick_comparisons(report=True):
                main(changed(words, how))


@pytest.mark.filterwarnings("ignore::robust_tickets.base.errors.RobustnessWarning")  # small stand-ins
@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}))
def test_python(page, workspace, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(workspace))
    write_files(page, workspace)
    names = names_of_snippets()
    for block in PYTHON:
        if block.page != page:
            continue
        text = block.text
        for old, new in REPLACED.get(page, {}).items():
            text = text.replace(old, new)
        lines = "\n" * (block.line - 1)  # so that a traceback has the page's lines
        if page in NOT_RUN or file_name(block).startswith("run_"):
            compile(lines + text, page, "exec")
        else:
            with quick_comparisons(report=True):
                exec(compile(lines + filled(text), page, "exec"), names)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_recipes(block, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(block.text)
    recipes.load(str(path))


def test_a_command_is_changed_flag_by_flag():
    words = shlex.split("table RUN --format html --seeds 3 4 --out x")
    assert changed(words, "--seeds 1") == shlex.split("table RUN --format html --out x --seeds 1")


def test_no_page_shows_a_run_that_the_tests_cannot_fill(workspace):
    shutil.rmtree("runs")
    with pytest.raises(AssertionError, match="no runs/"):
        filled("runs/.../timing.md")
