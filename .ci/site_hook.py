"""Hooks of the documentation site: adds pages that lie outside docs/, and follows links to them.

On GitHub a page links to files of the repository, such as ../runs/reference/README.md. Those files are
added to the site at the same place below its root, so that it can be read without a network.
"""

import json
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from reference_pages import ROOT, pages

PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
FOLDERS = ("runs/reference", "examples")
_EXTERNAL = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>")
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages made from the code, and the files of the repository that pages link to."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    for name, place in PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    for notebook in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        place = f"notebooks/{notebook.stem}.md"
        files.append(File.generated(config, place, content=notebook_text(notebook)))
    for folder in FOLDERS:
        for path, _, names in os.walk(ROOT / folder):
            place = Path(path).relative_to(ROOT).as_posix()
            names = [name for name in names if not name.startswith(".") and not name.endswith(".pyc")]
            for name in names:
                target = f"{place}/{name}"
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
            if "README.md" not in names:
                files.append(File.generated(config, f"{place}/index.md", content=_listing(place)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at the places that the files have in the site."""
    here = page.file.src_uri
    source = next((name for name, place in PAGES.items() if place == here), None)
    if source is None:
        source = here if here.startswith(FOLDERS) else f"docs/{here}"

    def link(match: re.Match[str]) -> str:
        head, target, anchor, tail = match.groups(default="")
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = PAGES.get(path, path.removeprefix("docs/"))
        if place.endswith(".ipynb") and not place.endswith(page.file.name + ".ipynb"):
            place = place.removesuffix(".ipynb") + ".md"  # but for a page's link to the notebook itself
        if (ROOT / path).is_dir():
            place += "/README.md" if (ROOT / path / "README.md").exists() else "/index.md"
        return f"{head}{posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor}{tail}"

    return _LINK.sub(link, markdown)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Refuse a page that would fetch something from the network. Raises PluginError."""
    external = _EXTERNAL.search(output)
    if external:
        raise PluginError(f"{page.file.src_uri} loads {external[0]}: the site must be readable offline")
    return output


def notebook_text(path: Path) -> str:
    """A notebook as a page: its texts, and its code as Python."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    kinds = [cell["cell_type"] for cell in cells]
    parts = [
        text if kind == "markdown" else f"```python\n{text}\n```"
        for kind, text in zip(kinds, texts, strict=True)
    ]
    return "\n\n".join([*parts, f"[The notebook itself]({path.name})"]) + "\n"


def _listing(place: str) -> str:
    """A page with the contents of a folder."""
    entries = sorted((ROOT / place).iterdir(), key=lambda path: (path.is_file(), path.name))
    names = [f"{path.name}/" if path.is_dir() else path.name for path in entries if path.name[0] not in "._"]
    return "\n".join([f"# {place}", "", *(f"- [{name}]({name.rstrip('/')})" for name in names)]) + "\n"
