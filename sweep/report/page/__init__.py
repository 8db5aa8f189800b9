"""The page of a sweep: one HTML file with everything that is stored about it.

First the verdict; then the choice, every trial, the pictures, the answers, what failed, the builds, the machine. The
file opens from a disk and in a frame without rights, needs no network, and can be printed.
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
    """Write the page of the sweep in a folder, even if the sweep still runs or was killed; the path of the page.

    Args:
        verdict: if it is known already.
        over: everything is measured, and the ledger is about to say so.
        path: of the page; default: `report.html` in the folder.

    Raises:
        UserError: the ledger has no header.
    """
    where = path or SweepFolder(folder).page
    files.write_whole(where, render(read(folder, verdict, over)))
    return where


def render(facts: Facts) -> str:
    from sweep.report.page import top

    return document(top.title(facts), list_sections(facts), top.header(facts))


def list_sections(facts: Facts) -> list[Section]:
    """The sections that have something to say."""
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
    """One section; if it has a bug, a line says so, because the rest of the page must not be lost."""
    try:
        return part(facts)
    except Exception as error:
        name = f"{part.__module__.rpartition('.')[2]}-{part.__name__}"
        return Section(name, "", paragraph(f"{MISSING} {name}: {type(error).__name__}: {error}", "soft"))


MISSING = "This part could not be made:"
