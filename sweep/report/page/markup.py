"""Pieces of HTML. Text goes through `esc` first; the other functions take HTML unless they say otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from sweep.spec import Status
from sweep.text import status_text

TAIL_LINES, TAIL_COLUMNS, TAIL_BYTES = 25, 240, 64_000


@dataclass(frozen=True)
class Section:
    """A part of a page; one without a heading is not listed in the contents."""

    id: str
    heading: str
    html: str


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    html: str
    sort: float | str | None = None  # the value that sorts the column; None: last
    css: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    cells: Sequence[Cell]
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    name: str
    hint: str = ""  # shown when one points at the head
    right: bool = False
    falling: bool = False  # the first click sorts the largest first
    css: str = ""  # of its head and its cells


def esc(value: object) -> str:
    """Escape a text, so that it is safe between tags and in attributes."""
    return escape(str(value), quote=True)


def attributes(values: Mapping[str, object]) -> str:
    return "".join(f' {name}="{esc(value)}"' for name, value in values.items() if value not in (None, ""))


def table(
    columns: Sequence[Column], rows: Iterable[Row], *, name: str = "", sortable: bool = True, css: str = ""
) -> str:
    """A table in a frame that scrolls sideways on narrow screens.

    Args:
        name: its id.
        sortable: by a click on the head of a column.
        css: "tight" where there are many columns: heads wrap; "loose": cells wrap on narrow screens.
    """
    head = "".join(_head(column, sortable) for column in columns)
    body = "".join(f"<tr{attributes(row.attributes)}>{_cells(row, columns)}</tr>\n" for row in rows)
    kind = attributes({"id": name, "class": " ".join(filter(None, ("sortable" if sortable else "", css)))})
    return f'<div class="scroll"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def _head(column: Column, sortable: bool) -> str:
    text = esc(column.name)
    if sortable and column.name:
        text = f'<button type="button">{text}</button>'
    values = {"class": _css(column), "title": column.hint, "scope": "col"}
    return f"<th{attributes({**values, 'data-falling': '1' if column.falling else ''})}>{text}</th>"


def _cells(row: Row, columns: Sequence[Column]) -> str:
    parts = []
    for cell, column in zip(row.cells, columns, strict=True):
        css = " ".join(filter(None, (_css(column), cell.css)))
        parts.append(f"<td{attributes({'class': css, 'data-v': cell.sort})}>{cell.html}</td>")
    return "".join(parts)


def _css(column: Column) -> str:
    return " ".join(filter(None, ("num" if column.right else "", column.css)))


def fact_list(pairs: Iterable[tuple[str, str]], css: str = "facts") -> str:
    """A list of names, which are escaped, with their values, which are HTML; names without a value are left out."""
    items = "".join(f"<div><dt>{esc(name)}</dt><dd>{html}</dd></div>" for name, html in pairs if html)
    return f'<dl class="{css}">{items}</dl>' if items else ""


def paragraph(text: object, css: str = "") -> str:
    return f"<p{attributes({'class': css})}>{esc(text)}</p>" if text else ""


def details(summary: str, body: str, css: str = "") -> str:
    """A body that is folded away under its summary; both are HTML."""
    return f"<details{attributes({'class': css})}><summary>{summary}</summary>{body}</details>"


def commands(lines: Sequence[str]) -> str:
    """Lines to type, each on its own, with a button that copies it."""
    items = "".join(
        f'<div class="cmd"><code>{esc(line)}</code><button type="button" class="copy">copy</button></div>'
        for line in lines
    )
    return f'<div class="cmds">{items}</div>' if items else ""


def swatch(name: str, colour: str) -> Cell:
    """A cell with the name of a trial and its colour in the drawings."""
    return Cell(f'<span style="color:{colour}">■</span> {esc(name)}', name)


def badge(status: Status, text: str = "") -> str:
    """The status of a trial as a colour and a word."""
    return f'<span class="tag {status.value}">{esc(text or status_text(status))}</span>'


def whisker(value: float | None, low: float | None, high: float | None, span: tuple[float, float]) -> str:
    """A value and its interval as a small drawing on the scale of `span`; empty without a value."""
    begin, end = span
    if value is None or end <= begin:
        return ""

    def place(number: float) -> str:
        return f"{2 + 96 * min(1.0, max(0.0, (number - begin) / (end - begin))):.3g}"

    line = ""
    if low is not None and high is not None:
        left, right = place(low), place(high)
        line = f'<path d="M{left} 6H{right}M{left} 3V9M{right} 3V9"/>'
    return (
        '<svg class="whisker" viewBox="0 0 100 12" aria-hidden="true"><path class="rail" d="M2 6H98"/>'
        f'{line}<circle cx="{place(value)}" cy="6" r="2.6"/></svg>'
    )


def bar(share: float) -> str:
    """A bar behind the text of a cell, as wide as this share of the cell."""
    return f'<span class="bar" style="width:{max(0.0, min(1.0, share)):.1%}"></span>'


def tail(path: Path | None) -> str:
    """The last lines of a log, folded away; empty if the file is gone or empty."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line[:TAIL_COLUMNS] for line in text.rstrip().splitlines()]
    if not lines:
        return ""
    shown = lines[-TAIL_LINES:]
    what = "the log" if len(shown) == len(lines) else f"the last {len(shown)} lines of the log"
    return details(what, f"<pre>{esc(chr(10).join(shown))}</pre>", "log paper")
