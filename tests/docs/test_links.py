"""Links of the documentation lead to files and headings that exist, as GitHub shows them."""

import re
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT

FILES = [
    *PAGES,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "runs/README.md")),
    *sorted((ROOT / "runs" / "reference").rglob("*.md")),
    *sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    targets = {link for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link}
    for link in targets:
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert not anchor or anchor in headings(file), link


def test_a_link_of_a_page_is_followed_to_its_heading():
    assert "what-all-arms-share" in headings(ROOT / "docs" / "concepts" / "comparison.md")
    assert "nonsense" not in headings(ROOT / "docs" / "concepts" / "comparison.md")
