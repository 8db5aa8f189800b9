"""Parts that all pictures share: colours, the sheet, the heading, scales, files, and the trials that are points."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.spec import Record, UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, FAINT = "#333333", "#BBBBBB"
STYLE: Any = {
    "font.size": 9,
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "grid.color": "#E9E9E9",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}
HEADING_INCHES = 0.62  # with one line of words
LINE_INCHES = 0.15
DPI = 130
RASTER = 1500  # with more marks they are drawn as one image, because as shapes they would make an SVG heavy


def sheet(width: float, height: float, title: str, words: Sequence[str]) -> Figure:
    """A white figure with a title and, in grey lines below, the `words`; sizes in inches.

    A second line of words makes the figure higher.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    text = textwrap.fill(" · ".join(word for word in words if word), int(width * 15))
    more = LINE_INCHES * text.count("\n")
    height += more
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)  # no window system, no global state
    heading = HEADING_INCHES + more
    # The type stubs know neither that there is an engine now, nor its options.
    figure.get_layout_engine().set(rect=(0.006, 0.004, 0.988, 0.996 - heading / height))  # type: ignore[union-attr, call-arg]
    figure.text(0.012, 1 - 0.1 / height, title, va="top", fontsize=12, fontweight="bold")
    figure.text(0.012, 1 - 0.36 / height, text, va="top", fontsize=8.5, color="#777777")
    return figure


def save(draw: Callable[[], Figure | None], path: Path) -> bool:
    """Draw in the house style into a file; its suffix says the kind: png, svg or pdf.

    Returns:
        Whether there was something to draw.

    Raises:
        UserError: the kind of file is not known, or the file cannot be written.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure = draw()
        if figure is None:
            return False
        kinds = figure.canvas.get_supported_filetypes()
        if path.suffix.lower().lstrip(".") not in kinds:
            raise UserError(f"{path.name} cannot be drawn: end it in .png, .svg or .pdf")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=DPI)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; --output says where else") from None
    return True


def clipped(text: str, most: int) -> str:
    """A text of at most `most` letters, because a long name must leave room for the drawing."""
    return text if len(text) <= most else text[: most - 1] + "…"


def draw_legend(figure: Figure, handles: Sequence[Any], across: int, place: Any = "outside lower center") -> None:
    """Draw a legend below the picture, `across` entries a line."""
    figure.legend(handles=list(handles), frameon=False, loc=place, ncols=across, fontsize=8.5)


def stretch(axes: Axes, name: str, low: float, high: float) -> None:
    """Scale an axis, x or y: logarithmic beyond a factor of five; the ticks have plain numbers in both cases."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if name == "x" else axes.yaxis
    low = max(low, high * 1e-6)
    if high > 5 * low:
        getattr(axes, f"set_{name}scale")("log")
        many = high > 100 * low
        axis.set_major_locator(LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
        getattr(axes, f"set_{name}lim")(low / 1.4, high * 1.5)
    else:
        getattr(axes, f"set_{name}lim")(0, high * 1.18)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


@dataclass(frozen=True)
class Hit:
    """A place of a drawing, a point or an area around it, that shows a text when one points at it."""

    axes: Axes
    x: float
    y: float
    colour: str = ""  # of the mark there
    trial: int | None = None  # number of the trial's row
    tip: str = ""  # the text, instead of that of the row
    side: float = 0.0  # of the square area around the place, in units of the axes; 0: a point


@dataclass(frozen=True)
class Point:
    """A trial that was measured."""

    record: Record
    latency: float  # ms
    throughput: float  # items/s
    tail: float | None  # p99, ms
    low: float
    high: float


def find_points(records: Sequence[Record]) -> list[Point]:
    """The trials that have both numbers and did not fail: `ok`, or stopped because enough was known of them."""
    points = []
    for record in records:
        metrics = record.numbers
        latency, value = metrics.get("latency_ms_p50"), metrics.get("throughput_items_per_s")
        if not record.status.is_failure and latency and value:
            low, high = (metrics.get("throughput_items_per_s" + end, value) for end in ("_low", "_high"))
            points.append(
                Point(record, latency, value, metrics.get("latency_ms_p99"), min(low, value), max(high, value))
            )
    return points
