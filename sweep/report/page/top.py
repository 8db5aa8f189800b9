"""The top of the page: the verdict in one sentence, its confidence, what would settle it, and the chosen setup."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from sweep.report import story
from sweep.report.names import (
    count_statuses,
    describe_common,
    describe_score_seconds,
    describe_scored,
    list_axes,
)
from sweep.report.page.gather import INTERRUPTED, KILLED, RUNNING, Facts, format_day
from sweep.report.page.markup import Section, badge, commands, details, esc, fact_list, paragraph
from sweep.spec import Origin, Record, metrics
from sweep.text import axis_text, count, count_range, describe_numbers, duration, number, percent, quantity, status_text
from sweep.verdict import claims
from sweep.verdict.wording import MANY

LONG = 320  # letters of a sentence
KINDS = {
    "winner": "Winner",
    "tie": "Tie",
    "undecided": "Not decided yet",
    "none": "Nothing to choose",
    "several": "Several questions",
}


def header(facts: Facts) -> str:
    """The HTML on top of the page."""
    began = format_day(float(facts.book.header.get("time") or 0.0))
    over = " · ".join(filter(None, (facts.settings.name, f"sweep {facts.folder.name}", began)))
    kind, sentence, more = _sentence(facts)
    return (
        f'<p class="over">{esc(over)}</p>{_banner(facts)}'
        f'<div class="verdict {esc(facts.verdict.kind if facts.over else "none")}"><p class="kind">{esc(kind)}</p>'
        f"<h1>{esc(sentence)}</h1>{paragraph(more)}</div>"
        + fact_list([(name, html) for name, html in _tiles(facts) if html], "tiles")
    )


def title(facts: Facts) -> str:
    """The title of the window and the bookmark."""
    chosen = [facts.by_key[key].label for key in facts.verdict.chosen if key in facts.by_key] if facts.over else []
    return f"{facts.settings.name}: " + (", ".join(chosen) or f"sweep {facts.folder.name}")


def choice(facts: Facts) -> Section:
    """The chosen setup beside the runner-up, with the commands that run them again."""
    first, second = find_first_and_second(facts)
    if first is None:
        return Section("choice", "", _command(facts))
    named = {"winner": "Chosen", "tie": "Chosen by the tie-break", "undecided": "Leads, not surely"}
    parts = facts.verdict.parts
    kind = next((part.kind for part in parts if first.key in part.keys), facts.verdict.kind)
    role = named.get(kind, "Nearest, but outside the limits")
    if parts:
        role += f" for {next((part.question for part in parts if first.key in part.keys), '')}"
    if not facts.over:
        role = "Leads so far"
    cards = [_card(facts, first, role, "card first" if first.key in facts.verdict.chosen and facts.over else "card")]
    if second is not None:
        cards.append(_card(facts, second, "Next", "card"))
    return Section("choice", "The choice", f'<div class="cards">{"".join(cards)}</div>{_command(facts)}')


def find_first_and_second(facts: Facts) -> tuple[Record | None, Record | None]:
    """The chosen trial or the leader, and the runner-up; if no trial qualifies, the nearest."""
    records, verdict = facts.records, facts.verdict
    first = story.find_leader(records, verdict) or next(iter(facts.best), None)
    second = story.find_runner_up(records, verdict)
    if second is first:
        second = None
    return first, second


def _sentence(facts: Facts) -> tuple[str, str, str]:
    """The kind of the verdict, its sentence, and one more sentence."""
    if facts.over:
        return KINDS.get(facts.verdict.kind, facts.verdict.kind), _named(facts, facts.verdict.sentence), ""
    ended = len(facts.book.records)
    if facts.verdict.kind != "none":
        return "No verdict yet", "So far: " + _named(facts, facts.verdict.sentence), ""
    some = [record for record in facts.records if record.metrics]
    so_far = f"No verdict yet: {count(ended, 'trial')} of {len(facts.records):,} ended"
    so_far += f", {len(facts.times.repeats):,} repeats measured."
    if not some or ended:
        return "No verdict yet", so_far, ""
    lead = max(some, key=lambda record: record.number(metrics.THROUGHPUT) or 0.0)
    rate = number(lead.number(metrics.THROUGHPUT))
    return "No verdict yet", so_far, f"The fastest so far, not checked: {lead.label}, {rate} items/s."


def _named(facts: Facts, sentence: str) -> str:
    """A sentence with short names instead of labels if it is too long; what they leave out is the same for all."""
    if len(sentence) <= LONG or not facts.axes:
        return sentence
    for record in sorted(facts.records, key=lambda record: -len(record.label)):
        sentence = sentence.replace(record.label, facts.name(record))
    return sentence


def _banner(facts: Facts) -> str:
    """A notice on top if the sweep has not come to its end."""
    name = facts.folder.name
    again = f"python -m sweep report {name}{facts.outputs}"
    resume = f"python -m sweep resume {name}{facts.outputs}"
    words = {
        RUNNING: f"This sweep is still running. The page shows what was known at {format_day(facts.times.last)}; "
        f"<code>{esc(again)}</code> writes it again.",
        KILLED: "This sweep was killed or stopped before its end; its last entry is of "
        f"{format_day(facts.times.last)}. What was measured is kept: <code>{esc(resume)}</code> does the rest.",
        INTERRUPTED: "This sweep was interrupted: the verdict is about what was measured until then. "
        f"<code>{esc(resume)}</code> does the rest.",
    }
    return f'<div class="banner"><p>{words[facts.state]}</p></div>' if facts.state in words else ""


def _tiles(facts: Facts) -> list[tuple[str, str]]:
    goal, records = facts.settings.objective, facts.records
    ended = " ".join(badge(status, f"{n:,} {status_text(status)}") for status, n in count_statuses(records))
    limits = [f"{limit.name} {limit.bound:g}" for limit in goal.limits]
    shared = describe_common([record.settings for record in facts.records])
    scored = ", ".join(filter(None, (describe_scored(records), describe_score_seconds(records))))
    lines = (
        {line.name: line.text for line in story.describe(records, facts.verdict, facts.settings)} if facts.over else {}
    )
    return [
        ("Asked for", esc(", ".join([goal.name.replace("_", " "), *limits]))),
        ("How sure", esc(lines.get("sure", ""))),
        ("What would settle it", _settles(facts)),
        ("Service levels", _claims(facts)),
        ("Rests on", esc(lines.get("rests on", ""))),
        ("Load", esc(lines.get("load", ""))),
        ("Cost", esc(lines.get("cost", ""))),
        ("Evidence", esc(_evidence(facts))),
        ("Noise", esc(_noise(facts))),
        ("Trials", ended),
        ("The same for all", esc(shared)),
        ("Answers", esc(scored)),
        ("Time", esc(_time(facts))),
    ]


def _noise(facts: Facts) -> str:
    """The sentences of drift.json, then those about the repeats that add something."""
    sentences = [str(line) for line in facts.drift.get("sentences") or []]
    known = {str(mark.get("what")) for mark in facts.drift.get("marks") or []}
    if facts.drift.get("findings"):
        known.add("level")
    more = "; ".join(text for name, text in story.describe_noise(facts.records).items() if name not in known)
    if more:
        sentences.append(more[0].upper() + more[1:] + ".")
    if not sentences and (facts.drift.get("tested") or {}).get("points"):
        return "no level shift and no trend was found"
    return " ".join(sentences)


def _settles(facts: Facts) -> str:
    """How many more repeats would decide, and how long they take."""
    verdict = facts.verdict
    if not facts.over or verdict.kind == "none":
        return ""
    if not verdict.more_repeats:
        return "nothing more is needed" if verdict.kind in ("winner", "tie") else ""
    most = max(verdict.more_repeats.values())
    if most > MANY:
        return f"more than {MANY} more repeats; a larger objective.margin settles it sooner"
    text = f"about {count(most, 'more repeat')} of {count(len(verdict.more_repeats), 'trial')}"
    if verdict.more_seconds:
        text += f", about {duration(verdict.more_seconds)}"
    how = "" if facts.settings.effort.repeats_max else ": effort=until_decided takes as many as it needs"
    return esc(text + how)


def _claims(facts: Facts) -> str:
    """What the samples of the chosen trial or leader prove of the limits on latency."""
    first, _ = find_first_and_second(facts)
    proofs = facts.verdict.claims.get(first.key, {}) if first else {}
    return "<br>".join(esc(claims.describe(claim)) for claim in proofs.values())


def _evidence(facts: Facts) -> str:
    measured = [record for record in facts.good if record.origin is Origin.MEASURED]
    span = count_range((len(record.repeats) for record in measured if record.repeats), "repeat")
    if not span:
        return ""
    window = duration(facts.settings.effort.window_seconds)
    return f"{span} of {window} a trial, each in a fresh process, interleaved over the trials"


def _time(facts: Facts) -> str:
    forecast = f" (forecast: {facts.forecast})" if facts.forecast else ""
    return f"took {facts.took}{forecast}" if facts.took else ""


def _card(facts: Facts, record: Record, role: str, css: str) -> str:
    """One setup: its numbers, its settings, and the command that runs it again."""
    goal = metrics.find(facts.settings.objective.metric)
    value, *ends = (record.number(name) for name in (goal.name, goal.low, goal.high))
    big = quantity(goal.name, value) if value is not None else ""
    if value is not None and None not in ends:
        big += f" ({number(ends[0])} to {number(ends[1])})"
    start, _, interval = big.partition(" (")
    small = f"<small>{percent(facts.settings.objective.confidence, 4)} interval {esc(interval[:-1])}</small>"
    reason = "" if record.key in facts.verdict.chosen else facts.verdict.reasons.get(record.key, "")
    settings = [(name, esc(axis_text(record.settings[name]))) for name in list_axes([record.settings])]
    run = facts.book.runs.get(record.key)
    lines = (
        [f"python -m sweep reproduce {run or record.key}{facts.outputs}"]
        if record.origin is not Origin.REPORTED
        else []
    )
    return (
        f'<div class="{css}"><p class="role">{esc(role)}</p><h3>{esc(record.label)}</h3>'
        f'<p class="big">{esc(start)} {small if interval else ""}</p>'
        + fact_list(_numbers(facts, record))
        + paragraph(facts.shorten(reason), "lead")
        + details("all settings", fact_list(settings), "log")
        + commands(lines)
        + "</div>"
    )


def _numbers(facts: Facts, record: Record) -> list[tuple[str, str]]:
    texts = describe_numbers(record.numbers, without=facts.settings.objective.metric)
    if record.origin is not Origin.MEASURED:
        texts["origin"] = record.origin.value
    return [(label, esc(text)) for label, text in texts.items()]


def _command(facts: Facts) -> str:
    """The command that ran the sweep, and commands for what comes next."""
    typed = str(facts.book.header.get("command") or "")
    if not typed:
        return ""
    lines = [typed, f"python -m sweep ui{facts.outputs}    # browse in MLflow"]
    if words := _why_arguments(facts):
        lines.insert(1, f"python -m sweep why {words}{facts.outputs}    # why it was not chosen")
    return "<h3>The command of this sweep, and how to go on</h3>" + commands(lines)


def _why_arguments(facts: Facts) -> str:
    """The settings of the second trial as arguments of `why`."""
    _, second = find_first_and_second(facts)
    names: Sequence[str] = facts.axes
    if second is None:
        return ""
    return " ".join(shlex.quote(f"{name}={axis_text(second.settings.get(name))}") for name in names)
