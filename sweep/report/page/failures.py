"""The trials that failed, grouped by what went wrong, the largest group first, with the ends of their logs."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.report import story
from sweep.report.names import group_failures
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Section, badge, commands, details, esc, paragraph, tail
from sweep.spec import Record
from sweep.text import count, list_some, relative, status_text

GROUPS, NAMED = 30, 6


def section(facts: Facts) -> Section | None:
    """None if everything worked."""
    # A trial that was stopped because enough was known of it did work: the table of trials has its reason.
    ended = [r for r in facts.records if r.key in facts.book.records and not story.has_numbers(r)]
    groups = sorted(group_failures(ended), key=lambda item: not item[1][0].status.is_failure)
    if not groups:
        return None
    html = "".join(_group(facts, text, records) for text, records in groups[:GROUPS])
    if len(groups) > GROUPS:
        rest = sum(len(records) for _, records in groups[GROUPS:])
        html += paragraph(
            f"{rest:,} more for {count(len(groups) - GROUPS, 'other reason')}: see the table above.", "soft"
        )
    return Section("failures", "What did not work", html)


def _group(facts: Facts, text: str, records: Sequence[Record]) -> str:
    first = records[0]
    names = list_some([facts.name(record) for record in records], NAMED)
    head = badge(first.status, f"{len(records):,} {status_text(first.status)}")
    css = "failure" if first.status.is_failure else "failure mild"
    body = f'<p>{head} <b>{esc(text)}</b></p><p class="soft">{esc(names)}</p>'
    failure = first.failure
    if failure is not None:
        versions = ", ".join(f"{name} {version}" for name, version in failure.versions.items())
        body += paragraph(f"with {versions}" if versions else "", "soft")
        log = facts.log(first)
        body += tail(log)
        body += paragraph(f"log: {relative(failure.log)}" if failure.log else "", "soft")
        if failure.command:
            body += details("run it again by hand", commands([failure.command]), "log")
    return f'<div class="{css}">{body}</div>'
