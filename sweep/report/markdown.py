"""The description of a sweep as Markdown: what the MLflow page of the parent run shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.report import (
    common,
    count,
    duration,
    failure_groups,
    number,
    plus_minus,
    ranked,
    share,
    short_name,
    status_text,
    varying,
)
from sweep.report.tables import metrics_of
from sweep.spec import Record, Status

if TYPE_CHECKING:
    from sweep.plan import Plan
    from sweep.select import Verdict
    from sweep.settings import Settings

TOP = 10


def describe(
    settings: Settings, plan: Plan | None, records: Sequence[Record], verdict: Verdict | None, lines: Sequence[str] = ()
) -> str:
    """Verdict, counts, the ten best trials, what did not work and why, and the lines to go on with.

    Args:
        plan: None where only the records are at hand.
        lines: commands, shown as code.
    """
    parts = [f"**{_escape(verdict.sentence)}**" if verdict else "", _counts(settings, plan, records)]
    good = [record for record in ranked(records, verdict.ranking if verdict else ()) if record.status is Status.OK]
    if good:
        parts.append(_table(good, records, verdict.winner if verdict else None))
    failures = failure_groups(records)
    if failures:
        parts.append("**What did not work**\n\n" + "\n".join(_failure(text, group) for text, group in failures[:TOP]))
        if len(failures) > TOP:
            parts.append(f"… and {count(len(failures) - TOP, 'other reason')}, all in `results.csv`.")
    if lines:
        parts.append("\n".join(["```", *lines, "```"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _counts(settings: Settings, plan: Plan | None, records: Sequence[Record]) -> str:
    by_status = {status: sum(record.status is status for record in records) for status in Status}
    words = [f"{n:,} {status_text(status)}" for status, n in by_status.items() if n]
    text = f"{count(len(records), 'trial')} ({', '.join(words)})" if words else "no trials"
    if plan is not None:
        text += f" · {count(len(plan.builds), 'distinct build')}"
    effort = settings.effort
    text += f" · {count(effort.repeats, 'repeat')} of {duration(effort.window_seconds)} each"
    shared = common([record.settings for record in records])
    return text + (f"\n\n{_escape(shared)}" if shared else "")


def _table(good: Sequence[Record], records: Sequence[Record], winner: str | None) -> str:
    axes = varying([record.settings for record in records])
    head = ["", "trial", "items/s", "p50 ms", "p99 ms", "agreement", "accuracy", "build"]
    padded = any("padding" in metrics_of(record) for record in good[:TOP])
    head += ["padding"] if padded else []
    rows = ["| " + " | ".join(head) + " |", "|:-|:-|" + "-:|" * (len(head) - 2)]
    for place, record in enumerate(good[:TOP], 1):
        metrics = metrics_of(record)
        throughput = [metrics.get("throughput_items_per_s" + end) for end in ("", "_low", "_high")]
        cells = [
            str(place),
            _escape(short_name(record.settings, axes) or record.label),
            plus_minus(*throughput),
            number(metrics.get("latency_ms_p50")),
            number(metrics.get("latency_ms_p99")),
            share(metrics.get("agreement")),
            share(metrics.get("accuracy")),
            duration(metrics.get("build_seconds")),
        ]
        if padded:
            cells.append(share(metrics.get("padding")))
        if record.key == winner:
            cells[1] = f"**{cells[1]}**"
        rows.append("| " + " | ".join(cells) + " |")
    if len(good) > TOP:
        rows.append(f"\n… and {len(good) - TOP:,} more in `results.csv`.")
    return "\n".join(rows)


def _failure(text: str, group: Sequence[Record]) -> str:
    names = ", ".join(record.label for record in group[:3]) + (f", … ({len(group)})" if len(group) > 3 else "")
    return f"- {status_text(group[0].status)}: {_escape(text[:300])} — {_escape(names)}"


def _escape(text: str) -> str:
    """Text from logs and configs must not become markup or break a table."""
    for character in "\\|*_`<>[]#":
        text = text.replace(character, "\\" + character)
    return text
