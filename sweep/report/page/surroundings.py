"""The machine and the software of a sweep, its times, and the pictures of bucket lists."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from sweep.report.page.gather import Facts, format_day
from sweep.report.page.markup import Section, details, esc, fact_list, paragraph
from sweep.spec import Json, to_json
from sweep.text import count, duration, number
from sweep.verdict.buckets.results import ListGroup

MOST_PICTURES = 12


def buckets(facts: Facts) -> Section | None:
    """None if no lists of buckets were measured."""
    from sweep.report.plots.buckets import plots

    pictures = [_picture(group) for _, group in plots.load_groups(facts.folder)[:MOST_PICTURES]]
    html = "".join(pictures)
    return Section("buckets", "Bucket lists", html) if html else None


def _picture(group: ListGroup) -> str:
    import matplotlib

    from sweep.report.plots.buckets import plots
    from sweep.report.plots.drawing import STYLE

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "buckets"}):
        figure = plots.draw(group)
        if figure is None:
            return ""
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    # An image keeps its ids and styles apart from those of the page.
    data = base64.b64encode(file.getvalue().encode()).decode()
    name = esc(group.label or "bucket lists")
    return f'<figure class="picture"><img src="data:image/svg+xml;base64,{data}" alt="{name}"></figure>'


def environment(facts: Facts) -> Section:
    recorded, settings = facts.environment, to_json(facts.settings)
    host: Json = recorded.get("host") or {}
    machine = [
        ("processor", esc(host.get("cpu") or recorded.get("processor") or "")),
        ("instance", esc(host.get("instance_type") or "")),
        ("cores", esc(host.get("cores") or recorded.get("cpus") or "")),
        ("memory", esc(f"{number(float(host['memory_mb']) / 1024)} GiB") if host.get("memory_mb") else ""),
        ("GPUs", esc(host.get("gpus") or "")),
        ("NeuronCores", esc(host.get("neuron_cores") or "")),
        ("features", esc(", ".join(map(str, host.get("features") or [])))),
        (
            "system",
            esc(" ".join(str(recorded[name]) for name in ("system", "release", "machine") if recorded.get(name))),
        ),
        ("Python", esc(" ".join(str(recorded[name]) for name in ("implementation", "python") if recorded.get(name)))),
        ("sweep", esc(facts.book.header.get("version") or recorded.get("sweep") or "")),
    ]
    versions = {**(recorded.get("packages") or {}), **(recorded.get("variables") or {})}
    software = [(name, esc(version)) for name, version in versions.items()]
    html = f'<div class="two"><div>{fact_list(machine)}</div><div>{fact_list(software)}</div></div>'
    if not recorded:
        html = paragraph("The sweep has left no environment.json.", "soft")
    groups = {name: settings[name] for name in ("effort", "objective", "gates", "limits", "fleet") if name in settings}
    html += "<h3>Time</h3>" + fact_list(_time(facts))
    return Section(
        "environment", "Environment", html + details("effort, objective, gates and limits", _nested(groups), "log")
    )


def _nested(values: Mapping[str, Any]) -> str:
    return "".join(f"<h3>{esc(name)}</h3>{fact_list(_flat(value))}" for name, value in values.items())


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in _flat(item, f"{name}.{key}" if name else str(key))]
    return [(name, esc("–" if value is None else value))]


def _time(facts: Facts) -> list[tuple[str, str]]:
    """The forecast, the time that the sweep took, and where it went."""
    began = float(facts.book.header.get("time") or 0.0)
    seconds = [repeat.wall_seconds or 0.0 for _, repeat in facts.times.repeats]
    built = {
        str(b.get("key")): float(b.get("seconds") or 0.0)
        for r in facts.records
        for b in r.builds
        if not b.get("reused")
    }
    return [
        ("began", esc(format_day(began))),
        ("ended" if facts.over else "last entry", esc(format_day(facts.times.last))),
        ("forecast", esc(facts.forecast)),
        ("took", esc(facts.took)),
        ("measuring", esc(f"{duration(sum(seconds))} in {count(len(seconds), 'repeat')}") if seconds else ""),
        ("building", esc(f"{duration(sum(built.values()))} in {count(len(built), 'build')}") if built else ""),
    ]
