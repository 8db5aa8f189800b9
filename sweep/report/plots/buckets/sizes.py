"""Panels of the sizes that occur: how often, which bucket serves them, and how much of what is computed is padding."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from sweep.report.plots.buckets.view import View
from sweep.report.plots.drawing import COLOURS, FAINT, INK
from sweep.text import axis_text, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sweep.report.plots.buckets.view import Array

LISTED = 9  # buckets in a legend
NEEDED, PADDING = COLOURS[0], COLOURS[1]
LEGEND: Any = {  # beside a panel, so that it covers nothing, whatever the sizes are
    "loc": "upper left",
    "bbox_to_anchor": (1.012, 1.0),
    "borderaxespad": 0.0,
    "borderpad": 0.0,
    "frameon": False,
    "fontsize": 8,
    "title_fontsize": 8,
    "alignment": "left",
    "labelspacing": 0.35,
}


def draw_histogram(axes: Axes, view: View) -> None:
    """How often each size occurs, in the colour of the bucket that serves it, with the buckets' bounds."""
    import numpy as np

    bottom = np.zeros(len(view.bins) - 1)
    for number, colour in [*enumerate(view.colours), (-1, FAINT)]:
        mine = view.served == number
        height = 100 * np.histogram(view.elements[mine], view.bins, weights=view.weights[mine])[0]
        _bars(axes, view, height, bottom, facecolor=colour, edgecolor="white", lw=0.3)
        bottom += height
    axes.set_ylim(0, 1.1 * float(bottom.max()))
    axes.set_ylabel("of the items, %")
    _bounds(axes, view)
    _legend(axes, view)
    what = "long" if view.dimensions == 1 else "large"
    axes.set_title(f"How {what} the items are" + (", and which bucket serves them" if view.shapes else ""), loc="left")


def draw_padding(axes: Axes, view: View) -> None:
    """The elements computed for each size: what the items need, and their padding."""
    import numpy as np
    from matplotlib.patches import Patch

    needed, filled = view.needed_and_padding
    lower, upper = (np.histogram(view.elements, view.bins, weights=100 * part)[0] for part in (needed, filled))
    used: Any = {"facecolor": NEEDED, "edgecolor": "white", "lw": 0.3}
    wasted: Any = {"facecolor": "#FFF4EC", "edgecolor": PADDING, "hatch": "//////", "lw": 0.3}
    _bars(axes, view, lower, np.zeros(len(lower)), **used)
    _bars(axes, view, upper, lower, **wasted)
    axes.set_ylim(0, 1.1 * float((lower + upper).max()))
    axes.set_ylabel("of the elements, %")
    _bounds(axes, view)
    axes.set_title("What is computed for them: needed and padding", loc="left")
    at_most = 1 - float(view.weights @ view.elements) / prod(map(int, view.sizes.max(axis=0)))
    handles = [
        Patch(label=f"padding {share(float(filled.sum()))}", **wasted),
        Patch(label=f"needed {share(float(needed.sum()))}", **used),
    ]
    if len(view.shapes) > 1:
        words = f"(padding would be {share(at_most)}\nif all were padded to max)"
        handles.append(Patch(label=words, facecolor="none"))
    axes.legend(handles=handles, handlelength=1.2, **LEGEND)


def draw_rectangles(axes: Axes, view: View) -> None:
    """Sizes of two dimensions as dots, each in the colour of its bucket, and the buckets as rectangles."""
    from matplotlib.patches import Rectangle

    area = 10 + 260 * view.weights / max(float(view.weights.max()), 0.05)
    dots: Any = {"ec": "white", "lw": 0.7, "zorder": 3}
    for number, (shape, colour) in enumerate(zip(view.shapes, view.colours, strict=True)):
        corner: Any = {"width": shape[1], "height": shape[0]}
        axes.add_patch(Rectangle((0, 0), **corner, color=colour, alpha=0.07, lw=0, zorder=1))
        axes.add_patch(Rectangle((0, 0), **corner, fill=False, ec=colour, lw=1.5, zorder=2))
        mine = view.served == number
        axes.scatter(view.sizes[mine, 1], view.sizes[mine, 0], area[mine], color=colour, **dots)
    lost = view.served < 0
    axes.scatter(view.sizes[lost, 1], view.sizes[lost, 0], area[lost], color=FAINT, **dots)
    top = [max([int(view.sizes[:, axis].max()), *(shape[axis] for shape in view.shapes)]) for axis in (0, 1)]
    axes.set_xlim(0, top[1] * 1.07)
    axes.set_ylim(0, top[0] * 1.07)
    axes.set_aspect("equal", anchor="W")
    axes.set_xlabel("second size (width)")
    axes.set_ylabel("first size (height)")
    axes.set_title("How large the items are (area of a dot: how many), and which bucket serves them", loc="left")
    axes.grid(True)
    _legend(axes, view)


def _bars(axes: Axes, view: View, heights: Array, bottoms: Array, **style: Any) -> None:
    """A bar on each bin that has anything."""
    import numpy as np

    some = heights > 0
    if some.any():
        axes.bar(view.bins[:-1][some], heights[some], np.diff(view.bins)[some], bottoms[some], align="edge", **style)


def _bounds(axes: Axes, view: View) -> None:
    """A line at the end of each bucket, for sizes of one dimension."""
    for shape, colour in zip(view.shapes, view.colours, strict=True):
        if view.dimensions == 1:
            axes.axvline(shape[0] + 0.5, color=colour, lw=1.0, ls=(0, (4, 2)), zorder=0.5)


def _format_share(part: float) -> str:
    return "<0.1 %" if 0 < part < 0.0005 else share(part)


def _legend(axes: Axes, view: View) -> None:
    """The buckets, with the share of the items that each serves."""
    from matplotlib.patches import Patch

    served = zip(view.shapes, view.colours, view.shares, strict=True)
    handles = [
        Patch(facecolor=colour, label=f"{axis_text([shape])}:  {_format_share(part)}") for shape, colour, part in served
    ]
    if len(handles) > LISTED:
        rest = sum(view.shares[LISTED - 1 :])
        handles[LISTED - 1 :] = [
            Patch(facecolor="none", label=f"{len(handles) - LISTED + 1} more:  {_format_share(rest)}")
        ]
    lost = float(view.weights[view.served < 0].sum())
    if lost and view.shapes:
        handles.append(Patch(facecolor=FAINT, edgecolor=INK, lw=0.5, label=f"in no bucket:  {_format_share(lost)}"))
    if handles:
        axes.legend(handles=handles, title="bucket: share of the items", handlelength=1.2, **LEGEND)
