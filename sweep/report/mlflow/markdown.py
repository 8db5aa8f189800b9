"""Descriptions of experiments, sweeps and trials as Markdown, for MLflow's pages: they need no other source.

Links are relative: they work wherever the UI is served, as long as they are followed inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweep.report import events, story
from sweep.report.mlflow.links import link_comparison, link_view
from sweep.report.names import (
    describe_common,
    describe_failure,
    describe_scored,
    describe_statuses,
    find_varying,
    group_failures,
    list_columns,
    short_name,
    sort_ranked,
)
from sweep.spec import Record, Status
from sweep.spec.metrics import METRICS, SAMPLES
from sweep.text import cell, count, count_range, describe_numbers, duration, status_text
from sweep.verdict import claims

if TYPE_CHECKING:
    from sweep.spec.plan import Plan
    from sweep.spec.settings import Settings
    from sweep.verdict.select import Verdict

TOP = 10
PAGE = "report.html"
OURS = "python -m sweep"  # in a description that may be replaced
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
        parts.append(_table(good, records, verdict.chosen if verdict else ()))
    failures = group_failures([r for r in records if not story.has_numbers(r)])
    if failures:
        parts.append("**What did not work**\n\n" + "\n".join(_failure(text, group) for text, group in failures[:TOP]))
        if len(failures) > TOP:
            parts.append(f"… and {count(len(failures) - TOP, 'other reason')}, all in `results.csv`.")
    if lines:
        parts.append("\n".join(["```", *lines, "```"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def describe_sweep(
    markdown: str,
    experiment_id: str,
    sweep_id: str,
    runs: Mapping[str, str],
    best: Sequence[str],
    files: Sequence[str],
) -> str:
    """The description of a sweep: the verdict, links, then the rest.

    Args:
        markdown: what `describe` returned: it begins with the verdict.
        runs: MLflow run ids under `parent`, and under `winner` if there is one.
        best: run ids of the best trials, best first.
        files: names of the artifacts of the sweep's run.
    """
    page = f"#/experiments/{experiment_id}"
    parent = f"{page}/runs/{runs['parent']}"
    entries = [f"[all trials, best first](#{link_view(experiment_id, sweep_id)})"]
    if len(best) > 1:
        entries.append(f"[the best {len(best)} side by side](#{link_comparison(experiment_id, best)})")
    if runs.get("winner"):
        entries.append(f"[the chosen trial]({page}/runs/{runs['winner']})")
    if PAGE in files:
        entries.append(f"[the report]({parent}/artifacts/{PAGE})")
    elif files:
        entries.append(f"[the files]({parent}/artifacts)")
    head, gap, rest = markdown.partition("\n\n")
    return f"{head}\n\n{' · '.join(entries)}{gap}{rest}"


def describe_experiment(experiment_id: str, sweep_id: str, settings: Settings) -> str:
    """The description of an experiment: what its runs are, and a link to the newest sweep."""
    objective = settings.objective.name.replace("_", " ")
    return (
        f"Newest: [sweep {sweep_id}, best by {objective} first](#{link_view(experiment_id, sweep_id)})\n\n"
        f"Each run called *sweep …* is one sweep (`{OURS}`): its description has the verdict, its artifacts the "
        "report. The runs below it are its trials, one setup each.\n"
    )


def describe_trial(record: Record, trials: int, verdict: Verdict | None) -> str:
    """The rank of a trial, its numbers and sample counts, what happened, and how to run it again.

    Args:
        trials: declared in the sweep.
        verdict: None while the sweep goes on.
    """
    parts = [f"**{_escape(_outcome(record, trials, verdict))}**", _escape(describe_common([record.settings]))]
    numbers = record.numbers if record.status is Status.REJECTED else story.comparable_numbers(record)
    facts = describe_numbers(numbers)
    if facts:
        parts.append(
            "\n".join(["| | |", "|:--|:--|", *(f"| {name} | {_escape(text)} |" for name, text in facts.items())])
        )
    proofs = verdict.claims.get(record.key, {}) if verdict else {}
    happened = [*map(claims.describe, proofs.values()), *events.describe_events(record)]
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
    if record.key in verdict.chosen:
        return f"Chosen among {count(trials, 'trial')}. {verdict.sentence}"
    reason = verdict.reasons.get(record.key) or record.reason
    if record.status is Status.STOPPED and record.key not in verdict.ranking:
        return f"stopped early: {record.reason}"
    if record.key in verdict.outside:
        return f"Not chosen: {reason}"
    place = verdict.ranking.index(record.key) + 1 if record.key in verdict.ranking else None
    return f"Rank {place} of {count(trials, 'trial')}: {reason}" if place else reason


def _counts(settings: Settings, plan: Plan | None, records: Sequence[Record]) -> str:
    text = f"{count(len(records), 'trial')} ({describe_statuses(records)})" if records else "no trials"
    if plan is not None:
        text += f" · {count(len(plan.builds), 'distinct build')}"
    text += f" · {_repeats(settings)} of {duration(settings.effort.window_seconds)} each"
    shared = " · ".join(
        filter(None, (describe_common([record.settings for record in records]), describe_scored(records)))
    )
    return text + (f"\n\n{_escape(shared)}" if shared else "")


def _repeats(settings: Settings) -> str:
    effort = settings.effort
    return count_range((effort.repeats, max(effort.repeats, effort.repeats_max or 0)), "repeat")


def _table(good: Sequence[Record], records: Sequence[Record], chosen: Sequence[str]) -> str:
    """The best trials, with the columns that any of them has."""
    axes = find_varying([record.settings for record in records])
    known = {name for record in good[:TOP] for name in record.numbers}
    columns = list_columns(records)
    shown = [metric for metric in METRICS if metric in columns or metric.name == SAMPLES]
    shown = [metric for metric in dict.fromkeys([*shown, *columns]) if metric.name in known]
    heads = [metric.column for metric in shown]
    rows = ["| " + " | ".join(["", "trial", *heads]) + " |", "|:--|:--|" + "--:|" * len(heads)]
    for place, record in enumerate(good[:TOP], 1):
        name = _escape(short_name(record.settings, axes) or record.label)
        name = f"**{name}**" if record.key in chosen else name
        rows.append("| " + " | ".join([str(place), name, *(cell(metric, record.numbers) for metric in shown)]) + " |")
    if len(good) > TOP:
        rows.append(f"\n… and {len(good) - TOP:,} more in `results.csv`.")
    return "\n".join(rows)


def _failure(text: str, group: Sequence[Record]) -> str:
    names = ", ".join(record.label for record in group[:3]) + (f", … ({len(group)})" if len(group) > 3 else "")
    return f"- {status_text(group[0].status)}: {_escape(text[:300])} — {_escape(names)}"


def _escape(text: str) -> str:
    """Text from logs and configs must not become markup or break a table."""
    for character in "\\|*_`[]#":
        text = text.replace(character, "\\" + character)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
