"""The distinct builds: seconds, size, whether they came from the store, and the trials that use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sweep.report.names import short_name
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Cell, Column, Row, Section, badge, bar, esc, paragraph, table
from sweep.spec import Json, Record, Status
from sweep.text import axis_text, count, duration, number, share

MOST = 200


@dataclass
class Use:
    """A build and the trials that need it."""

    build: Json
    bucket: str  # empty unless a trial has several builds
    records: list[Record] = field(default_factory=list)
    failed: bool = False


def section(facts: Facts) -> Section | None:
    """None if nothing was built or taken from the store."""
    uses = _uses(facts)
    if not uses:
        return None
    new = [use for use in uses if not use.build.get("reused")]
    failed = [use for use in uses if use.failed]
    seconds = sum(float(use.build.get("seconds") or 0.0) for use in new)
    trials = len({record.key for use in uses for record in use.records})
    words = [
        f"{count(len(uses), 'distinct build')} for {count(trials, 'trial')}:",
        f"{len(new):,} made here in {duration(seconds)} of compiling,",
        f"{len(uses) - len(new):,} taken from the store" + (f", {len(failed):,} failed." if failed else "."),
    ]
    slowest = max((float(use.build.get("seconds") or 0.0) for use in uses), default=0.0)
    known = [name for name in ("artifact_mb", "placement") if any(use.build.get(name) is not None for use in uses)]
    columns = [
        Column("build"),
        Column("seconds", "of building it", True, True),
        Column("state"),
        *(Column({"artifact_mb": "MB"}.get(name, name), "", True, True) for name in known),
        Column("precision", "as read back from what was built"),
        Column("trials", "number of trials that use it", True, True),
        Column("built with"),
    ]
    shown = sorted(uses, key=lambda use: (not use.failed, -float(use.build.get("seconds") or 0.0)))[:MOST]
    html = paragraph(" ".join(words), "lead") + table(
        columns, [_row(facts, use, known, slowest) for use in shown], name="builds-table"
    )
    if len(uses) > MOST:
        html += paragraph(f"The {MOST} that took longest of {len(uses):,}.", "soft")
    return Section("builds", "Builds", html + _inputs(facts) + _natures(facts))


def _inputs(facts: Facts) -> str:
    """Which array went to which input, where it is notable."""
    lines = {
        f"{record.settings.get('model')} · {record.settings.get('data')}: {record.binding.describe()}": None
        for record in facts.records
        if record.binding is not None and record.binding.notable
    }
    return "".join(paragraph(f"Inputs of {esc(line)}", "soft") for line in lines)


def _natures(facts: Facts) -> str:
    """What original models do themselves, which their builds are not to blame for."""
    lines = {
        f"The original of {record.settings.get('model')} itself {record.nature.describe()}": None
        for record in facts.records
        if record.nature is not None
    }
    return "".join(paragraph(esc(line), "soft") for line in lines)


def _uses(facts: Facts) -> list[Use]:
    uses: dict[str, Use] = {}
    for record in facts.records:
        buckets = record.settings.get("buckets")
        listed = buckets if isinstance(buckets, list) and len(buckets) == len(record.builds) else []
        word = str(buckets if isinstance(buckets, str) else "")
        names = [f"k{axis_text([bucket])}" for bucket in listed] or [word] * len(record.builds)
        for bucket, build in zip(names, record.builds, strict=True):
            use = uses.setdefault(str(build.get("key")), Use(dict(build), bucket))
            use.records.append(record)
            # If a trial with several builds failed, the builds that report nothing are those that failed.
            use.failed |= record.status is Status.BUILD_FAILED and build.get("precision") is None
    return list(uses.values())


def _row(facts: Facts, use: Use, known: Sequence[str], slowest: float) -> Row:
    build = use.build
    seconds = float(build.get("seconds") or 0.0)
    state = badge(Status.BUILD_FAILED, "failed") if use.failed else badge(Status.OK, "built")
    if build.get("reused"):
        state = badge(Status.BUILD_FAILED, "remembered failure") if use.failed else badge(Status.STOPPED, "reused")
    tried = build.get("attempts") or ()
    if tried:
        state += f" <small>after {count(len(tried), 'other try').replace('trys', 'tries')}</small>"
    versions = ", ".join(f"{name} {version}" for name, version in (build.get("versions") or {}).items())
    drawn = bar(seconds / slowest) if slowest else ""
    cells = [
        Cell(esc(_name(facts, use)), _name(facts, use)),
        Cell(f"{drawn}{number(seconds)}", seconds, "rate"),
        Cell(state, str(build.get("reused"))),
    ]
    for name in known:
        value = build.get(name)
        text = "" if value is None else share(value) if name == "placement" else number(value)
        cells.append(Cell(esc(text), value))
    cells.append(Cell(esc(build.get("precision") or ""), str(build.get("precision") or "")))
    cells.append(Cell(f"{len(use.records):,}", len(use.records)))
    cells.append(Cell(esc(versions), versions or None, "wrap"))
    return Row(cells)


def _name(facts: Facts, use: Use) -> str:
    """The varying axes that its trials share; without `cores` if the same build runs on any number of them."""
    first = use.records[0].settings
    alike = [
        name
        for name in facts.axes
        if name != "buckets" and len({axis_text(record.settings.get(name)) for record in use.records}) == 1
    ]
    shared = [name for name in alike if name not in ("cores", "replicas", "request_batch", "load")] or alike
    base = ["backend", "precision", "batch"]
    text = short_name(
        first, [*(name for name in base if name not in shared), *shared] if use.bucket else shared or base
    )
    return f"{text} {use.bucket}".strip()
