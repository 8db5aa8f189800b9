"""The page of a sweep: one HTML file that tells the whole of it, from what is stored.

The verdict first; then the choice, every trial, the pictures, the answers, what failed, the builds, the machine. It
opens from a disk and in a frame without rights, asks no network, and shows the same on paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep import files
from sweep.report.page.document import document
from sweep.report.page.gather import Facts, read
from sweep.report.page.markup import Section, paragraph
from sweep.store.layout import SweepFolder

if TYPE_CHECKING:
    from sweep.verdict.select import Verdict

__all__ = ["Section", "document", "write"]


def write(folder: Path, verdict: Verdict | None = None, *, over: bool = False, path: Path | None = None) -> Path:
    """Make the page of the sweep in a folder: of one that runs or was killed too.

    Args:
        verdict: where it is known already.
        over: all is measured, and the ledger is about to say so.
        path: of the file; default: `report.html` in the folder.

    Raises:
        UserError: the ledger has no beginning.
    """
    where = path or SweepFolder(folder).page
    files.write_whole(where, render(read(folder, verdict, over)))
    return where


def render(facts: Facts) -> str:
    from sweep.report.page import top

    return document(top.title(facts), list_sections(facts), top.header(facts))


def list_sections(facts: Facts) -> list[Section]:
    """What there is something to say about."""
    from sweep.report.page import (
        answers,
        builds,
        capacity,
        changes,
        failures,
        heat,
        latency,
        noise,
        surroundings,
        top,
        tradeoff,
    )
    from sweep.report.page import trials as table

    parts: Sequence[Callable[[Facts], Section | None]] = (
        top.choice,
        table.section,
        tradeoff.section,
        changes.section,
        heat.section,
        latency.section,
        capacity.section,
        answers.section,
        failures.section,
        builds.section,
        noise.section,
        surroundings.buckets,
        surroundings.environment,
    )
    return [section for part in parts if (section := _safely(part, facts)) is not None]


def _safely(part: Callable[[Facts], Section | None], facts: Facts) -> Section | None:
    """One part of the page; where it has a bug, the rest is told all the same: the end of a sweep must not be lost."""
    try:
        return part(facts)
    except Exception as error:
        name = f"{part.__module__.rpartition('.')[2]}-{part.__name__}"
        return Section(name, "", paragraph(f"{MISSING} {name}: {type(error).__name__}: {error}", "soft"))


MISSING = "This part could not be made:"
