"""One self-contained HTML file: style and script are in it, and it needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweep import __version__
from sweep.report.page.markup import Section, esc

HERE = Path(__file__).parent
# The browser loads nothing from elsewhere, even if text from a log got into the HTML unescaped.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def document(title: str, sections: Sequence[Section], header: str = "") -> str:
    """The whole page.

    Args:
        title: plain text.
        sections: in this order; those with a heading are listed at the top.
        header: HTML on top instead of the title.
    """
    listed = "".join(
        f'<a href="#{esc(section.id)}">{esc(section.heading)}</a>' for section in sections if section.heading
    )
    top = header or f"<h1>{esc(title)}</h1>"
    body = "\n".join(_section(section) for section in sections)
    return _writable(f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light">
<link rel="icon" href="data:,">
<meta name="generator" content="sweep {esc(__version__)}">
<title>{esc(title)}</title>
<style>
{_own("page.css")}</style>
</head>
<body>
<nav aria-label="contents"><div>{listed}</div></nav>
<main>
<header>{top}</header>
{body}
</main>
<script>
{_own("page.js")}</script>
</body>
</html>
""")


def _writable(text: str) -> str:
    """The text without lone surrogates, which a log or a label may hold and a file cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _section(section: Section) -> str:
    heading = f"<h2>{esc(section.heading)}</h2>\n" if section.heading else ""
    return f'<section id="{esc(section.id)}">\n{heading}{section.html}\n</section>'


def _own(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
