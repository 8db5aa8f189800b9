"""Throughput and accuracy by option, as bars: one line for each trial, the best on top; failed ones are gaps.

A bar stands for a measured number or a reported one (hatched). A failed option has no bar, because a bar of no length
would be read as a number; its gap says why.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweep.report.names import describe_statuses, sort_ranked
from sweep.report.plots import naming
from sweep.report.plots.drawing import HEADING_INCHES, INK, sheet
from sweep.spec import Origin, Status
from sweep.spec.metrics import THROUGHPUT
from sweep.spec.settings import Objective
from sweep.text import plus_minus, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sweep.store.query import Stored

MOST = 40  # more options are not readable on one page
WIDTH_INCHES, ROW_INCHES = 9.25, 0.27
HATCHES = {Origin.REPORTED: "////", Origin.REPLAYED: "xxxx"}
UNMEASURED = {Origin.REPORTED: "reported, not measured here", Origin.REPLAYED: "replayed from reported numbers"}
GAP = "#F3F3F3"


def draw(trials: Sequence[Stored], objective: Objective) -> Figure:
    """A figure with two panels for the same options: throughput with its interval, and accuracy or agreement."""
    ordered = sort_trials(trials, objective)
    shown, rest = ordered[:MOST], ordered[MOST:]
    quality = next(
        (name for name in ("accuracy", "agreement") if any(name in _metrics(trial) for trial in shown)), None
    )
    words = [*naming.describe_trials(shown), f"ordered by {objective.name.replace('_', ' ')}"]
    words += [f"not shown: {describe_statuses([trial.record for trial in rest])}"] if rest else []
    title = f"throughput and {quality} by option" if quality else "throughput by option"
    height = HEADING_INCHES + 0.95 + ROW_INCHES * max(len(shown), 3)
    figure = sheet(WIDTH_INCHES, height, naming.make_title(shown, title), words)
    _, palette, groups = naming.assign_colours(shown)
    fills = [palette[group] for group in groups]
    if quality is None:
        panels = [figure.subplots()]
    else:
        panels = list(figure.subplots(1, 2, sharey=True, width_ratios=(3, 2)))
    panels[0].set_yticks(range(len(shown)), naming.name_trials(shown))
    panels[0].set_ylim(len(shown) - 0.45, -0.55)
    _throughputs(panels[0], shown, fills)
    if quality is not None:
        _shares(panels[1], shown, fills, quality)
    for panel in panels:
        panel.tick_params(axis="y", length=0)
        panel.grid(True, axis="x")
    _legend(figure, shown, groups, palette, quality)
    return figure


def sort_trials(trials: Sequence[Stored], objective: Objective) -> list[Stored]:
    """By the objective's metric; then the trials without that metric; then the failed ones, by how far they came."""

    def place(trial: Stored) -> tuple[bool, float]:
        value = _metrics(trial).get(objective.metric)
        return value is None, -(value or 0) if objective.maximize else (value or 0)

    good = sorted((trial for trial in trials if trial.record.status is Status.OK), key=place)
    bad = {id(trial.record): trial for trial in trials if trial.record.status is not Status.OK}
    return good + [bad[id(record)] for record in sort_ranked([trial.record for trial in bad.values()], ())]


def _metrics(trial: Stored) -> Mapping[str, float]:
    """The numbers of a trial that may be drawn: none if it was rejected or never ended."""
    return trial.record.numbers if trial.record.status is Status.OK else {}


def _throughputs(axes: Axes, shown: Sequence[Stored], fills: Sequence[str]) -> None:
    values = [_metrics(trial).get(THROUGHPUT) for trial in shown]
    highest = max((value for value in values if value is not None), default=1.0)
    top = highest
    for place, (trial, value) in enumerate(zip(shown, values, strict=True)):
        if value is None:
            _gap(axes, place, trial)
            continue
        low, high = (_metrics(trial).get(THROUGHPUT + end) for end in ("_low", "_high"))
        _bar(axes, place, value, low, high, fills[place], trial)
        _beside(axes, place, plus_minus(value, low, high))
        top = max(top, high or value)
    axes.set_xlim(0, min(top, 1.6 * highest) * 1.04)  # an interval from two repeats may be very long: it is cut off
    spread = any(THROUGHPUT + "_low" in _metrics(trial) for trial in shown)
    axes.set_xlabel("throughput, items/s" + (" (line: 95 % interval over repeats)" if spread else ""))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    if all(value is None for value in values):
        axes.set_xticks([])


def _shares(axes: Axes, shown: Sequence[Stored], fills: Sequence[str], quality: str) -> None:
    for place, trial in enumerate(shown):
        metrics = _metrics(trial)
        if trial.record.status is not Status.OK:
            _gap(axes, place, None)
            continue
        value = metrics.get(quality)
        if value is None:
            axes.text(0.02, place, "not stated", va="center", fontsize=8, color="#888888")
            continue
        _bar(axes, place, value, metrics.get(quality + "_low"), metrics.get(quality + "_high"), fills[place], trial)
        _beside(axes, place, share(value, 2))
        original = metrics.get("reference_accuracy")
        if quality == "accuracy" and original is not None:
            axes.plot([original] * 2, [place - 0.42, place + 0.42], color="black", lw=1.6, zorder=4)
    axes.set_xlim(0, 1.0)
    axes.set_xlabel("accuracy" if quality == "accuracy" else "agreement with the original model's answers")
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def _bar(axes: Axes, place: int, value: float, low: float | None, high: float | None, fill: str, trial: Stored) -> None:
    hatch = HATCHES.get(trial.record.origin)
    axes.barh(place, value, 0.7, color=fill, hatch=hatch, edgecolor="white", lw=0, zorder=2)
    if low is not None and high is not None:
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], color=INK, lw=1.1, capsize=2.5, zorder=3)


def _beside(axes: Axes, place: int, text: str) -> None:
    """Write a number in the margin, where neither bars nor intervals reach."""
    axes.text(1.015, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)


def _gap(axes: Axes, place: int, trial: Stored | None) -> None:
    """Draw a grey band where a bar would be, with the reason if a trial is given."""
    axes.axhspan(place - 0.4, place + 0.4, color=GAP, lw=0, zorder=1.5)
    if trial is None:
        return
    record = trial.record
    text = "not stated" if record.status is Status.OK else naming.describe_ending(record)
    failed = record.failure is not None and record.status is not Status.INVALID
    words = ("× " if failed else "") + text
    colour = "#A33A00" if failed else "#777777"
    axes.text(0.012, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=colour)


def _legend(
    figure: Figure, shown: Sequence[Stored], groups: Sequence[str], palette: dict[str, str], quality: str | None
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = []
    is_barred = [bool({THROUGHPUT, quality} & set(_metrics(trial))) for trial in shown]
    used = set(itertools.compress(groups, is_barred))
    if len(used) > 1:
        handles += [Patch(facecolor=colour, label=name) for name, colour in palette.items() if name in used]
    origins = dict.fromkeys(trial.record.origin for trial in itertools.compress(shown, is_barred))
    for origin in (origin for origin in origins if origin in HATCHES):
        patch = Patch(facecolor="#999999", edgecolor="white", hatch=HATCHES[origin], lw=0, label=UNMEASURED[origin])
        handles.append(patch)
    if quality == "accuracy" and any("reference_accuracy" in _metrics(trial) for trial in shown):
        handles.append(Line2D([], [], marker="|", ls="", ms=11, mew=1.6, color="black", label="original model"))
    if any(THROUGHPUT not in _metrics(trial) for trial in shown):
        handles.append(Patch(facecolor=GAP, edgecolor="#DDDDDD", label="no result"))
    if handles:
        naming.draw_legend(figure, handles)
