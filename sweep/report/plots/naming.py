"""The words of a picture of stored trials: short names of the trials, the heading, what is left out."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweep.report.names import describe_common, find_varying, short_name
from sweep.report.plots import drawing
from sweep.report.plots.drawing import COLOURS
from sweep.spec import Json, Record, Status
from sweep.store import query
from sweep.text import count_range, status_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sweep.store.query import Stored


def list_settings(trials: Sequence[Stored]) -> list[Json]:
    """The settings that tell trials apart: with the host instead of `local`, without data that repeats the model."""
    settings = [{**trial.record.settings, "hardware": trial.host} for trial in trials]
    if all(row.get("data") == row.get("model") for row in settings):
        settings = [{name: value for name, value in row.items() if name != "data"} for row in settings]
    return settings


def name_trials(trials: Sequence[Stored]) -> list[str]:
    """For each trial only the settings that tell it from the others; for a single trial its label."""
    if len(trials) == 1:
        return [trials[0].record.label]
    settings = list_settings(trials)
    for more in ("", "origin", "sweep"):  # only if the settings do not tell all trials apart
        if more:
            settings = [{**row, more: trial.row[more]} for row, trial in zip(settings, trials, strict=True)]
        moving = find_varying(settings)
        first = [name for name in moving if name != "hardware"]
        short = [short_name(row, first) for row in settings]
        if "hardware" in moving:  # last, as a host's name may be long
            short = [
                " · ".join(filter(None, (name, row["hardware"]))) for name, row in zip(short, settings, strict=True)
            ]
        if len(set(short)) == len(short):
            return short
    alike = {name for name, times in Counter(short).items() if times > 1}
    return [
        f"{name} ({trial.record.key[:6]})" if name in alike else name for name, trial in zip(short, trials, strict=True)
    ]


def describe_trials(trials: Sequence[Stored]) -> list[str]:
    """The settings that the trials share except the model, which is in the title; effort, repeats and origin."""
    efforts = dict.fromkeys(query.settings(trial.history).effort.name for trial in trials if trial.is_measured)
    settings = [{name: value for name, value in row.items() if name != "model"} for row in list_settings(trials)]
    words = [describe_common(settings), f"effort {' and '.join(efforts)}" if efforts else ""]
    repeats = [len(trial.record.repeats) for trial in trials if trial.is_measured and trial.record.repeats]
    words.append(count_range(repeats, "repeat"))
    foreign = [trial.record.origin.value for trial in trials if not trial.is_measured]
    if foreign:
        some = "" if len(foreign) == len(trials) else f"{len(foreign)} of {len(trials)} "
        words.append(some + " or ".join(dict.fromkeys(foreign)) + ", not measured here")
    return words


def make_title(trials: Sequence[Stored], what: str) -> str:
    """`resnet50: latency of a request`; only the latter if the trials have different models."""
    models = {str(trial.record.settings.get("model", "")) for trial in trials}
    return f"{models.pop()}: {what}" if len(models) == 1 else what[0].upper() + what[1:]


def describe_ending(record: Record) -> str:
    """Say in a few words why a trial has nothing to draw: `build failed: partial placement`, or the rule it breaks."""
    if record.failure is not None and record.status is not Status.INVALID:  # a rule has no kind
        return f"{status_text(record.status)}: {record.failure.kind.value.replace('_', ' ')}"
    return textwrap.shorten(f"{status_text(record.status)}: {record.reason}".rstrip(": "), 60, placeholder=" …")


def assign_colours(trials: Sequence[Stored]) -> tuple[str, dict[str, str], list[str]]:
    """The first axis that tells trials apart, a colour for each of its values, and the value of each trial."""
    settings = list_settings(trials)
    moving = find_varying(settings)
    axis = next((name for name in ("backend", "hardware", "precision", "model") if name in moving), "backend")
    values = [str(row.get(axis, "")) for row in settings]
    return axis, {value: COLOURS[n % len(COLOURS)] for n, value in enumerate(dict.fromkeys(values))}, values


def draw_legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Draw the legend below the picture, in as many lines as it needs."""
    lines = -(-sum(len(handle.get_label()) + 9 for handle in handles) // 125)
    across = -(-len(handles) // max(1, lines))
    drawing.draw_legend(figure, handles, across, "outside lower left")
