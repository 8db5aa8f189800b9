"""Drawings for the page: matplotlib's SVG inline, one for wide screens and paper and one for narrow screens.

Text stays text, in the page's font. What can be pointed at has a transparent circle on top, because small marks are
hard to hit with a finger. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sweep.report.page.markup import attributes, esc
from sweep.report.plots.drawing import STYLE, Hit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE_INCHES, NARROW_INCHES = 9.4, 3.7
DPI = 72  # one unit of the drawing is a point
REACH = 6.0  # radius of what can be hit


Drawn = tuple["Figure", Sequence[Hit]]


def chart(name: str, draw: Callable[[bool], Drawn], caption: str = "") -> str:
    """A figure with the drawing twice: `draw(True)` for wide screens, `draw(False)` for narrow ones.

    Args:
        name: unique on the page.
        caption: HTML.
    """
    parts = "".join(
        f'<div class="{css}">{render(f"{name}-{css}", draw, css == "wide")}</div>' for css in ("wide", "narrow")
    )
    return f'<figure class="chart">{parts}' + (f"<figcaption>{caption}</figcaption>" if caption else "") + "</figure>"


def canvas(wide: bool, height: float) -> Figure:
    """An empty figure; `height` in inches."""
    from matplotlib.figure import Figure

    size = (WIDE_INCHES if wide else NARROW_INCHES, height)
    return Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="none")


def render(name: str, draw: Callable[[bool], Drawn], wide: bool) -> str:
    """The drawing as an `svg` element."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    style = {**STYLE, "font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": name, "axes.facecolor": "none"}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has other fonts
        figure, hits = draw(wide)
        text = io.StringIO()
        # Not `savefig`, which draws everything twice.
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(text, metadata=nothing)  # type: ignore[no-untyped-call]  # matplotlib has no types for it
        height = figure.get_figheight() * DPI
        over = "".join(_hit(hit, height) for hit in hits)
    drawn = _inline(text.getvalue(), name, any(not hit.side for hit in hits))
    return drawn.replace("</svg>", f'<g class="hits">{over}</g></svg>') if over else drawn


def _hit(hit: Hit, height: float) -> str:
    """A transparent circle on a point, or a transparent rectangle on an area; the page's script reacts to both."""
    (x, y), half = hit.axes.transData.transform((hit.x, hit.y)), hit.side / 2
    about = {"data-t": hit.trial, "data-tip": hit.tip, "style": f"--c:{hit.colour}" if hit.colour else ""}
    if not half:
        circle = {"class": "hit", "cx": f"{x:.1f}", "cy": f"{height - y:.1f}", "r": f"{REACH:g}"}
        return f"<circle{attributes({**circle, **about})}/>"
    corners = hit.axes.transData.transform([(hit.x - half, hit.y - half), (hit.x + half, hit.y + half)])
    (left, low), (right, high) = corners.min(axis=0), corners.max(axis=0)
    area = {"class": "hit area", "x": f"{left:.1f}", "y": f"{height - high:.1f}"}
    size = {"width": f"{right - left:.1f}", "height": f"{high - low:.1f}"}
    return f"<rect{attributes({**area, **size, **about})}/>"


def _inline(text: str, name: str, linked: bool) -> str:
    """The SVG as a part of a page: without a head, a fixed size, styles for the page and unused ids."""
    text = text[text.index("<svg") :].strip()
    text = re.sub(
        r"<metadata>.*?</metadata>\s*|<style[^>]*>.*?</style>\s*|<defs>\s*</defs>\s*", "", text, flags=re.DOTALL
    )
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    label = esc(name.rpartition("-")[0].replace("-", " "))
    css = ' class="linked"' if linked else ""
    frame = attributes({"viewBox": box[1] if box else "", "xmlns:xlink": "http://www.w3.org/1999/xlink"})
    head = f'<svg{css} role="img" aria-label="{label}"{frame}'
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', rest))
    rest = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", rest)
    # Only the size and the weight of a font: its family is the page's.
    rest = re.sub(r" *font-family: [^;\"]*;?", "", rest)
    rest = re.sub(r"font: ((?:\w+ )*)([\d.]+)px [^;\"]*", r"font: \1\2px var(--sans)", rest)
    return head + ">" + re.sub(r">\s+<", "><", rest)
