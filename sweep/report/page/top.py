"""The top of the page: the verdict in one sentence, how sure it is, what would settle it, and the setup to take."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from sweep.report import story
from sweep.report.names import axes_of, common
from sweep.report.page.gather import INTERRUPTED, KILLED, RUNNING, Facts, day
from sweep.report.page.markup import Section, badge, commands, details, esc, facts, paragraph
from sweep.spec import Origin, Record, Status, from_json, metrics
from sweep.text import axis_text, count, duration, listed, number, percent, quantity, status_text
from sweep.verdict import claims
from sweep.verdict.wording import MANY

LONG = 320  # letters of a sentence
KINDS = {
    "winner": "Winner",
    "tie": "Tie",
    "undecided": "Not decided yet",
    "none": "Nothing to choose",
}


def header(told: Facts) -> str:
    """What stands on top of the page."""
    began = day(float(told.book.header.get("time") or 0.0))
    over = " · ".join(filter(None, (told.settings.name, f"sweep {told.folder.name}", began)))
    kind, sentence, more = _sentence(told)
    return (
        f'<p class="over">{esc(over)}</p>{_banner(told)}'
        f'<div class="verdict {esc(told.verdict.kind if told.over else "none")}"><p class="kind">{esc(kind)}</p>'
        f"<h1>{esc(sentence)}</h1>{paragraph(more)}</div>"
        + facts([(name, html) for name, html in _tiles(told) if html], "tiles")
    )


def title(told: Facts) -> str:
    """Of the window, the file and the bookmark."""
    chosen = told.by_key.get(told.verdict.winner or "")
    return f"{told.settings.name}: " + (chosen.label if chosen and told.over else f"sweep {told.folder.name}")


def choice(told: Facts) -> Section:
    """The setup to take beside the one that comes next, with the lines that run them again."""
    first, second = first_and_second(told)
    if first is None:
        return Section("choice", "", _command(told))
    named = {"winner": "Chosen", "tie": "Chosen by the tie-break", "undecided": "Leads, not surely"}
    role = named.get(told.verdict.kind, "Nearest, but outside the limits")
    if not told.over:
        role = "Leads so far"
    cards = [_card(told, first, role, "card first" if told.verdict.winner and told.over else "card")]
    if second is not None:
        cards.append(_card(told, second, "Next", "card"))
    return Section("choice", "The choice", f'<div class="cards">{"".join(cards)}</div>{_command(told)}')


def first_and_second(told: Facts) -> tuple[Record | None, Record | None]:
    """The choice, or who leads, and the runner-up; where nobody qualifies, who is nearest."""
    records, verdict = told.records, told.verdict
    first = story.chosen(records, verdict) or next(iter(told.best), None)
    second = story.runner_up(records, verdict)
    if second is first:
        second = None
    return first, second


def _sentence(told: Facts) -> tuple[str, str, str]:
    """The kind of the verdict, its sentence, and what there is to say after it."""
    if told.over:
        return KINDS.get(told.verdict.kind, told.verdict.kind), _named(told, told.verdict.sentence), ""
    ended = len(told.book.records)
    if told.verdict.kind != "none":
        return "No verdict yet", "So far: " + _named(told, told.verdict.sentence), ""
    some = [record for record in told.records if record.metrics]
    so_far = f"No verdict yet: {count(ended, 'trial')} of {len(told.records):,} ended"
    so_far += f", {len(told.times.repeats):,} repeats measured."
    if not some or ended:
        return "No verdict yet", so_far, ""
    lead = max(some, key=lambda record: record.number(metrics.THROUGHPUT) or 0.0)
    rate = number(lead.number(metrics.THROUGHPUT))
    return "No verdict yet", so_far, f"The fastest so far, not checked: {lead.label}, {rate} items/s."


def _named(told: Facts, sentence: str) -> str:
    """With short names where labels make it too long to read; what they leave out is the same for all."""
    if len(sentence) <= LONG or not told.axes:
        return sentence
    for record in sorted(told.records, key=lambda record: -len(record.label)):
        sentence = sentence.replace(record.label, told.name(record))
    return sentence


def _banner(told: Facts) -> str:
    """A sweep that did not come to its end says so before anything else."""
    name = told.folder.name
    again = f"python -m sweep report {name}{told.outputs}"
    resume = f"python -m sweep resume {name}{told.outputs}"
    words = {
        RUNNING: f"This sweep is still running. The page shows what was known at {day(told.times.last)}; "
        f"<code>{esc(again)}</code> writes it again.",
        KILLED: f"This sweep was ended before its end, or killed; its last sign of life is of {day(told.times.last)}. "
        f"What was measured stands: <code>{esc(resume)}</code> does the rest.",
        INTERRUPTED: "This sweep was interrupted: the verdict is about what was measured until then. "
        f"<code>{esc(resume)}</code> does the rest.",
    }
    return f'<div class="banner"><p>{words[told.state]}</p></div>' if told.state in words else ""


def _tiles(told: Facts) -> list[tuple[str, str]]:
    goal, records = told.settings.objective, told.records
    counts = {status: sum(record.status is status for record in told.records) for status in Status}
    ended = " ".join(badge(status, f"{n:,} {status_text(status)}") for status, n in counts.items() if n)
    limits = [f"{limit.name} {limit.bound:g}" for limit in goal.limits]
    shared = common([record.settings for record in told.records])
    lines = {line.name: line.text for line in story.lines(records, told.verdict, told.settings)} if told.over else {}
    return [
        ("Asked for", esc(", ".join([goal.name.replace("_", " "), *limits]))),
        ("How sure", esc(lines.get("sure", ""))),
        ("What would settle it", _settles(told)),
        ("Service levels", _claims(told)),
        ("Load", esc(lines.get("load", ""))),
        ("Cost", esc(lines.get("cost", ""))),
        ("Evidence", esc(_evidence(told))),
        ("Noise", esc(_noise(told))),
        ("Trials", ended),
        ("The same for all", esc(shared)),
        ("Time", esc(_time(told))),
    ]


def _noise(told: Facts) -> str:
    """What drift.json says, and of what the repeats say only what is not in it."""
    sentences = [str(line) for line in told.drift.get("sentences") or []]
    said = {str(mark.get("what")) for mark in told.drift.get("marks") or []}
    if told.drift.get("findings"):
        said.add("level")
    more = "; ".join(text for name, text in story.noise(told.records).items() if name not in said)
    if more:
        sentences.append(more[0].upper() + more[1:] + ".")
    if not sentences and (told.drift.get("tested") or {}).get("points"):
        return "no level shift and no trend was found"
    return " ".join(sentences)


def _settles(told: Facts) -> str:
    """Further repeats, and how long they take."""
    verdict = told.verdict
    if not told.over or verdict.kind in ("none",):
        return ""
    if not verdict.more_repeats:
        return "nothing more is needed" if verdict.kind in ("winner", "tie") else ""
    most = max(verdict.more_repeats.values())
    if most > MANY:
        return f"more than {MANY} more repeats; a larger objective.margin settles it sooner"
    text = f"about {count(most, 'more repeat')} of {count(len(verdict.more_repeats), 'trial')}"
    if verdict.more_seconds:
        text += f", about {duration(verdict.more_seconds)}"
    how = "" if told.settings.effort.repeats_max else ": effort=until_decided takes as many as it needs"
    return esc(text + how)


def _claims(told: Facts) -> str:
    """What the samples prove of the limits on latency, of the choice or the leader."""
    first, _ = first_and_second(told)
    found = told.verdict.claims.get(first.key, {}) if first else {}
    return "<br>".join(esc(claims.describe(from_json(claims.Claim, dict(each)))) for each in found.values())


def _evidence(told: Facts) -> str:
    repeats = sorted(
        {len(record.repeats) for record in told.good if record.repeats and record.origin is Origin.MEASURED}
    )
    if not repeats:
        return ""
    span = count(repeats[0], "repeat") if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]} repeats"
    window = duration(told.settings.effort.window_seconds)
    return f"{span} of {window} a trial, each in a fresh process, interleaved over the trials"


def _time(told: Facts) -> str:
    began = float(told.book.header.get("time") or 0.0)
    took = duration(max(0.0, told.times.last - began)) if began and told.times.last else ""
    forecast = f" (forecast: {told.forecast})" if told.forecast else ""
    return f"took {took}{forecast}" if took else ""


def _card(told: Facts, record: Record, role: str, css: str) -> str:
    """One setup: its numbers, its settings, and the line that runs it again."""
    goal = metrics.find(told.settings.objective.metric)
    value, *ends = (record.number(name) for name in (goal.name, goal.low, goal.high))
    big = quantity(goal.name, value) if value is not None else ""
    if value is not None and None not in ends:
        big += f" ({number(ends[0])} to {number(ends[1])})"
    start, _, interval = big.partition(" (")
    small = f"<small>{percent(told.settings.objective.confidence, 4)} interval {esc(interval[:-1])}</small>"
    reason = "" if record.key == told.verdict.winner else told.verdict.reasons.get(record.key, "")
    settings = [(name, esc(axis_text(record.settings[name]))) for name in axes_of([record.settings])]
    run = told.book.runs.get(record.key)
    lines = (
        [f"python -m sweep reproduce {run or record.key}{told.outputs}"] if record.origin is not Origin.REPORTED else []
    )
    return (
        f'<div class="{css}"><p class="role">{esc(role)}</p><h3>{esc(record.label)}</h3>'
        f'<p class="big">{esc(start)} {small if interval else ""}</p>'
        + facts(_numbers(told, record))
        + paragraph(told.shortened(reason), "lead")
        + details("all settings", facts(settings), "log")
        + commands(lines)
        + "</div>"
    )


def _numbers(told: Facts, record: Record) -> list[tuple[str, str]]:
    texts = listed(record.numbers, without=told.settings.objective.metric)
    if record.origin is not Origin.MEASURED:
        texts["origin"] = record.origin.value
    return [(label, esc(text)) for label, text in texts.items()]


def _command(told: Facts) -> str:
    """How the whole sweep was asked for."""
    typed = str(told.book.header.get("command") or "")
    if not typed:
        return ""
    lines = [typed, f"python -m sweep ui{told.outputs}    # browse in MLflow"]
    if asked := _asked(told):
        lines.insert(1, f"python -m sweep why {asked}{told.outputs}    # why it was not chosen")
    return "<h3>How it was asked for, and how to go on</h3>" + commands(lines)


def _asked(told: Facts) -> str:
    """The settings of the trial that comes second, as `why` takes them."""
    _, second = first_and_second(told)
    names: Sequence[str] = told.axes
    if second is None:
        return ""
    return " ".join(shlex.quote(f"{name}={axis_text(second.settings.get(name))}") for name in names)
