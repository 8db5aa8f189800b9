"""What would change the choice: prices and limits at which another trial leads, and the hosts for a load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.report.page.gather import Facts
from sweep.report.page.markup import Cell, Column, Row, Section, esc, paragraph, table
from sweep.report.terminal import whatif
from sweep.text import count

if TYPE_CHECKING:
    from sweep.verdict.whatif.answers import View
    from sweep.verdict.whatif.flips import Steps

MOST = 8  # fleets


def section(facts: Facts) -> Section | None:
    """None if there was nothing to choose from, or no price or limit is known to change the choice."""
    if not facts.over or not facts.good:
        return None
    from sweep.verdict.costs import prices
    from sweep.verdict.whatif import flips
    from sweep.verdict.whatif.answers import Question, View

    settings = facts.settings
    trials = [facts.stored(record) for record in facts.records]
    question = Question(settings.objective, settings.fleet)
    view = View(trials, question, prices.read(facts.folder.parent.parent))
    html = _flips(facts, flips.find_flips(view)) + _fleets(facts, view)
    return Section("changes", "What would change it", html) if html else None


def _flips(facts: Facts, flips: tuple[Steps, ...]) -> str:
    labels = {record.key: facts.name(record) for record in facts.records}
    rows = [
        Row([Cell(esc(what)), Cell(esc(where)), Cell(esc(who))], {"class": "chosen" if now else ""})
        for steps in flips
        for what, where, who, now in whatif.list_flips(steps, labels)
    ]
    if not rows:
        return ""
    lost = sum(steps.unconfirmed for steps in flips)
    note = f"{count(lost, 'further change')} could not be confirmed 1 % away." if lost else ""
    columns = [Column("if this changes"), Column("where"), Column("then leads")]
    return table(columns, rows, sortable=False, css="loose") + paragraph(note, "soft")


def _fleets(facts: Facts, view: View) -> str:
    """The hosts for the declared load."""
    fleet = facts.settings.fleet
    if fleet.items_per_s is None or not view.fleets:
        return ""
    head = whatif.describe_load(fleet)
    hints = {"load": "share of what all hosts can do while none is lost", "USD/month": "730 hours"}
    hints["$/M items"] = "of the load, idle hosts included"
    columns = [Column("trial"), *(Column(name, hints.get(name, ""), bool(name)) for name in whatif.FLEET_HEADS)]
    rows = []
    for option in view.fleets[:MOST]:
        hosts, name = option.hosts, facts.name(option.record)
        money = (hosts.usd_per_hour, hosts.usd_per_month, hosts.usd_per_million_items)
        values = (option.rate, hosts.hosts, hosts.load, *money, option.idle)
        cells = [Cell(esc(text), value) for text, value in zip(whatif.format_fleet(option), values, strict=True)]
        css = "chosen" if option.record.key in facts.verdict.chosen else ""
        rows.append(Row([Cell(esc(name), name), *cells], {"class": css}))
    return f"<h3>{esc(head[0].upper() + head[1:])}</h3>" + table(columns, rows, name="fleets")
