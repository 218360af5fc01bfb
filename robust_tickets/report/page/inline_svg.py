"""Pictures inside of the page: SVG without anything that another picture, or another machine, must have."""

import re

from robust_tickets.report.page.markup import escape

_ROOT = re.compile(r"<svg\b[^>]*>")


def inline_svg(svg: bytes, name: str, title: str) -> str:
    """The elements of an SVG file for a page.

    name: stands before all its ids, so that they meet no others on the page.
    title: its accessible name.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    view = re.search(r'viewBox="([^"]*)"', text)
    assert view is not None, "matplotlib writes one"
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = re.sub(r'\bhref="#([^"]*)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", text)
    root = f'<svg viewBox="{view.group(1)}" role="img" aria-label="{escape(title)}">'
    return re.sub(r"\n\s*", "\n", _ROOT.sub(lambda match: root, text, count=1).strip())
