"""Sweeps on a disk for the tests of the page: with repeats in the ledger, a plan, an end, whatever a page tells of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sweep.report import page
from sweep.report.page import gather, top
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Section
from sweep.spec import Record
from sweep.store import ledger
from tests.support.stored_sweeps import Member, store_sweep

SWEEP = "20260131-101500"
AXES = [(backend, batch, cores) for backend in ("onnxruntime", "torch") for batch in (1, 8) for cores in (1, 2)]


def latencies(seed: int, middle: float, requests: int = 600, repeats: int = 3) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [(middle * random.lognormal(0, 0.2, requests)).tolist() for _ in range(repeats)]


def members() -> list[Member]:
    """Eight trials: five good, one of each way to fail, one that cannot run."""
    endings: dict[int, dict[str, Any]] = {
        5: {"status": "build_failed", "more": {"reason": "the compiler died (SIGSEGV)"}},
        6: {"status": "run_failed", "more": {"reason": "no answer for 60 s"}},
        7: {"status": "invalid", "more": {"reason": "8 cores asked for, this machine has 4"}},
    }
    found = []
    for place, (backend, batch, cores) in enumerate(AXES):
        axes = {"backend": backend, "batch": batch, "cores": cores}
        ending = endings.get(place, {"latencies_ms": latencies(place, 0.5 + place), "more": {"repeats": 3}})
        found.append(Member(axes, **ending))
    return found


def stored(
    outputs: Path, some: Sequence[Member] | None = None, *, name: str = SWEEP, finished: bool = True, **changes: Any
) -> Path:
    """The folder of such a sweep; `changes` are made to every record that is `ok`."""
    folder = store_sweep(outputs, name, members() if some is None else some)
    book = ledger.Ledger(folder)
    with book.together():
        for record in [*ledger.History(folder).records.values()]:
            if changes and record.status.value == "ok":
                record = replace(record, **changes)
                book.append("record", record=record)
            repeated(book, record)
        if finished:
            book.append("finish", verdict=None, interrupted=False)
    book.close()
    (folder / "plan.json").write_text(json.dumps({"entries": [], "builds": {}, "forecast_seconds": [57.0]}))
    return folder


def repeated(book: ledger.Ledger, record: Record) -> None:
    for measurement in record.repeats:
        book.append("repeat", trial=record.key, identity=record.key, measurement=measurement)


def html(folder: Path, *parts: Callable[[Facts], Section | None], **options: Any) -> str:
    """The page of a sweep, with these parts alone if any are named: a picture takes a tenth of a second."""
    if not parts:
        return page.write(folder, **options).read_text(encoding="utf-8")
    facts = gather.read(folder)
    sections = [section for part in parts if (section := part(facts)) is not None]
    return page.document(top.title(facts), sections, top.header(facts))
