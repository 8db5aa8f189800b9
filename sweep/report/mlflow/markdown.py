"""Descriptions of sweeps and trials as Markdown, for MLflow's pages: they must be enough without other sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweep.report import events, story
from sweep.report.names import (
    describe_common,
    describe_failure,
    describe_statuses,
    find_varying,
    group_failures,
    short_name,
    sort_ranked,
)
from sweep.spec import Record, Status
from sweep.spec.metrics import COLUMNS, LATENCIES, METRICS, SAMPLES, Unit
from sweep.text import UNKNOWN, cell, count, count_range, describe_numbers, duration, number, status_text

if TYPE_CHECKING:
    from sweep.spec.plan import Plan
    from sweep.spec.settings import Settings
    from sweep.verdict.select import Verdict

TOP = 10
RUN = "{run}"  # stands for the run's id, which is not known before the run is made


def describe(
    settings: Settings, plan: Plan | None, records: Sequence[Record], verdict: Verdict | None, lines: Sequence[str] = ()
) -> str:
    """Verdict and story, counts, the ten best trials, what failed and why, and the commands for what comes next.

    Args:
        plan: None if only the records are known.
        lines: commands, shown as code.
    """
    parts = [f"**{_escape(verdict.sentence)}**" if verdict else "", _story(settings, records, verdict)]
    parts.append(_counts(settings, plan, records))
    good = [record for record in sort_ranked(records, verdict.ranking if verdict else ()) if story.has_numbers(record)]
    if good:
        parts.append(_table(good, records, verdict.winner if verdict else None))
    failures = group_failures([r for r in records if not story.has_numbers(r)])
    if failures:
        parts.append("**What did not work**\n\n" + "\n".join(_failure(text, group) for text, group in failures[:TOP]))
        if len(failures) > TOP:
            parts.append(f"… and {count(len(failures) - TOP, 'other reason')}, all in `results.csv`.")
    if lines:
        parts.append("\n".join(["```", *lines, "```"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def describe_trial(record: Record, trials: int, verdict: Verdict | None) -> str:
    """The rank of a trial, its numbers and sample counts, what happened, and how to run it again.

    Args:
        trials: declared in the sweep.
        verdict: None while the sweep goes on.
    """
    parts = [f"**{_escape(_outcome(record, trials, verdict))}**", _escape(describe_common([record.settings]))]
    numbers = record.numbers if record.status is Status.REJECTED else story.comparable_numbers(record)
    facts = describe_numbers(numbers)
    if "latency" in facts:
        facts["latency"] = _latencies(numbers)
    if facts:
        parts.append(
            "\n".join(["| | |", "|:--|:--|", *(f"| {name} | {_escape(text)} |" for name, text in facts.items())])
        )
    happened = [*_claims(record, verdict), *events.describe_events(record)]
    if happened:
        parts.append("\n".join(f"- {_escape(' '.join(line.split()))}" for line in happened))
    if record.origin.is_evidence:
        parts.append(f"```\npython -m sweep reproduce {RUN}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _story(settings: Settings, records: Sequence[Record], verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    story_lines = story.describe(records, verdict, settings)
    return "\n".join(f"- {line.name}: {_escape(line.text)}" for line in story_lines)


def _outcome(record: Record, trials: int, verdict: Verdict | None) -> str:
    """The first line of a trial's page."""
    if not story.has_numbers(record):
        return f"{status_text(record.status)}: {describe_failure(record)}"
    if verdict is None:
        return "measured; the sweep goes on"
    if record.key == verdict.winner:
        return f"Chosen among {count(trials, 'trial')}. {verdict.sentence}"
    reason = verdict.reasons.get(record.key) or record.reason
    if record.status is Status.STOPPED and record.key not in verdict.ranking:
        return f"stopped early: {record.reason}"
    if record.key in verdict.outside:
        return f"Not chosen: {reason}"
    place = verdict.ranking.index(record.key) + 1 if record.key in verdict.ranking else None
    return f"Rank {place} of {count(trials, 'trial')}: {reason}" if place else reason


def _claims(record: Record, verdict: Verdict | None) -> list[str]:
    """Sentences about what the samples prove of the limits on latency."""
    from sweep.spec import from_json
    from sweep.verdict import claims
    from sweep.verdict.claims import Claim

    proofs = verdict.claims.get(record.key, {}) if verdict else {}
    return [claims.describe(from_json(Claim, claim)) for claim in proofs.values()]


def _counts(settings: Settings, plan: Plan | None, records: Sequence[Record]) -> str:
    text = f"{count(len(records), 'trial')} ({describe_statuses(records)})" if records else "no trials"
    if plan is not None:
        text += f" · {count(len(plan.builds), 'distinct build')}"
    text += f" · {_repeats(settings)} of {duration(settings.effort.window_seconds)} each"
    shared = describe_common([record.settings for record in records])
    return text + (f"\n\n{_escape(shared)}" if shared else "")


def _repeats(settings: Settings) -> str:
    effort = settings.effort
    return count_range((effort.repeats, max(effort.repeats, effort.repeats_max or 0)), "repeat")


def _table(good: Sequence[Record], records: Sequence[Record], winner: str | None) -> str:
    """The best trials, with the columns that any of them has."""
    axes = find_varying([record.settings for record in records])
    cells = {record.key: _cells(record) for record in good[:TOP]}
    heads = [head for head in next(iter(cells.values())) if any(row[head] != UNKNOWN for row in cells.values())]
    rows = ["| " + " | ".join(["", "trial", *heads]) + " |", "|:--|:--|" + "--:|" * len(heads)]
    for place, record in enumerate(good[:TOP], 1):
        name = _escape(short_name(record.settings, axes) or record.label)
        name = f"**{name}**" if record.key == winner else name
        rows.append("| " + " | ".join([str(place), name, *(cells[record.key][head] for head in heads)]) + " |")
    if len(good) > TOP:
        rows.append(f"\n… and {len(good) - TOP:,} more in `results.csv`.")
    return "\n".join(rows)


def _cells(record: Record) -> dict[str, str]:
    """Cells by the head of their column, which has the unit if the cell has none; a dash for unknown numbers."""
    cells = {}
    for metric in METRICS:
        if metric.unit is Unit.SECONDS and metric in COLUMNS:
            cells[metric.label] = duration(record.numbers.get(metric.name))
        elif metric in COLUMNS or metric.name == SAMPLES:
            cells[metric.label if metric.unit is Unit.SHARE else metric.column] = cell(metric, record.numbers)
    return cells


def _latencies(numbers: Mapping[str, float]) -> str:
    known = [metric for metric in LATENCIES if metric.quantile and metric.name in numbers]
    samples = f" of {int(numbers[SAMPLES]):,}" if SAMPLES in numbers else ""
    return ", ".join(f"{metric.label} {number(numbers[metric.name])} ms" for metric in known) + samples


def _failure(text: str, group: Sequence[Record]) -> str:
    names = ", ".join(record.label for record in group[:3]) + (f", … ({len(group)})" if len(group) > 3 else "")
    return f"- {status_text(group[0].status)}: {_escape(text[:300])} — {_escape(names)}"


def _escape(text: str) -> str:
    """Text from logs and configs must not become markup or break a table."""
    for character in "\\|*_`[]#":
        text = text.replace(character, "\\" + character)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
