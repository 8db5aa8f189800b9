"""Two sweeps beside each other: which trials are the same, and what is known to differ around them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from sweep.files import read_json
from sweep.hardware import environment
from sweep.spec import REQUESTS, Record, canonical, digest, to_json
from sweep.spec.settings import Effort
from sweep.spec.trial import last_name
from sweep.store import ledger, query
from sweep.store.layout import SweepFolder
from sweep.store.ledger import History
from sweep.text import share

Pairs = Sequence[tuple[Record, Record]]  # the same trial in A and in B
BUSY = 0.1  # share of the CPU time of others from which a difference between sweeps may well be theirs
RENAMED = {"closed": "saturate"}  # loads that had another name


def match_trials(a: History, b: History) -> tuple[list[tuple[Record, Record]], list[Record], list[Record]]:
    """The pairs of trials that are the same in both sweeps, and the trials that only A and only B have.

    Trials are matched by key, then by settings and load, last without the interpreter of a backend. A trial that fits
    several of the other sweep is left unmatched.
    """
    rest_a, rest_b = ([record for record in query.records(history) if record.origin.is_evidence] for history in (a, b))
    names: tuple[Callable[[History, Record], str], ...] = (
        lambda _, record: record.key,
        lambda history, record: _describe_request(history, record, ()),
        lambda history, record: _describe_request(history, record, ("python",)),
    )
    pairs: list[tuple[Record, Record]] = []
    for name in names:
        mine, its = _group_single(rest_a, lambda r, n=name: n(a, r)), _group_single(rest_b, lambda r, n=name: n(b, r))  # type: ignore[misc]  # lambda with a default
        pairs += [(mine[text], its[text]) for text in mine if text in its]
        taken = {id(record) for pair in pairs for record in pair}
        rest_a, rest_b = ([record for record in rest if id(record) not in taken] for rest in (rest_a, rest_b))
    return pairs, rest_a, rest_b


def _group_single(records: Iterable[Record], name: Callable[[Record], str]) -> dict[str, Record]:
    """Records by their name, without names that several share."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(name(record), []).append(record)
    return {text: group[0] for text, group in groups.items() if len(group) == 1}


def _describe_request(history: History, record: Record, without: Sequence[str]) -> str:
    """What was requested of a trial, as one text: its settings and its load."""
    settings = {REQUESTS: record.settings.get("batch"), **record.settings}
    settled = {name: value for name, value in settings.items() if value is not None and last_name(name) not in without}
    trial = history.trials.get(record.key)
    load = dict(trial.load) if trial else {}
    load["name"] = RENAMED.get(str(load.get("name")), load.get("name"))
    return canonical([settled, load, dict(trial.deployment) if trial else {}])


def list_differences(a: History, b: History, pairs: Pairs) -> list[str]:
    """What is known to differ beside the settings of trials, each as `name: old -> new`."""
    captured = [read_json(SweepFolder(history.folder).environment) for history in (a, b)]
    lines = environment.list_differences(captured[0], captured[1]) if all(captured) else []
    for (backend, package), (old, new) in _list_versions(pairs).items():
        line = f"{package}: {old} -> {new}"
        if old != new and line not in lines:
            lines.append(f"{backend}: {line}")
    hosts = [sorted({query.Stored(h, record).host for record in query.records(h)}) for h in (a, b)]
    lines += [f"hardware: {', '.join(hosts[0])} -> {', '.join(hosts[1])}"] if hosts[0] != hosts[1] else []
    efforts = [_describe_effort(query.settings(history).effort) for history in (a, b)]
    lines += [f"effort: {efforts[0]} -> {efforts[1]}"] if efforts[0] != efforts[1] else []
    return lines + _list_content_changes(a, b, pairs)


def _list_versions(pairs: Pairs) -> dict[tuple[str, str], tuple[str, str]]:
    """Versions before and after that builds name, by backend and package."""
    versions: dict[tuple[str, str], tuple[str, str]] = {}
    for before, after in pairs:
        old, new = (_collect_versions(record.builds) for record in (before, after))
        backend = str(after.settings.get("backend", ""))
        versions |= {(backend, name): (old[name], new[name]) for name in old if name in new}
    return versions


def _collect_versions(builds: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {name: str(version) for build in builds for name, version in (build.get("versions") or {}).items()}


def _describe_effort(effort: Effort) -> str:
    return f"{effort.name} ({effort.repeats} x {effort.window_seconds:g} s)"


def _list_content_changes(a: History, b: History, pairs: Pairs) -> list[str]:
    """Models and data whose content changed and whose name did not."""
    known = [{e["pair"]: e["result"] for e in ledger.entries(h.folder) if e["kind"] == "reference"} for h in (a, b)]
    changes: dict[str, None] = {}
    for before, after in pairs:
        trials = a.trials.get(before.key), b.trials.get(after.key)
        if trials[0] is None or trials[1] is None:
            continue
        contents = [
            results.get(digest([to_json(trial.model), to_json(trial.data)])) or {}
            for results, trial in zip(known, trials, strict=True)
            if trial is not None
        ]
        for name in ("model", "data"):
            if contents[0].get(name) and contents[1].get(name) and contents[0][name] != contents[1][name]:
                changes[f"{name} {after.settings.get(name)}: its content is another"] = None
    return list(changes)


def _foreign_share(history: History) -> float:
    """The share of the machine's CPU time that other programs took, median over the repeats."""
    shares = (m.host.foreign_cpu_share for record in history.records.values() for m in record.repeats)
    return median([share for share in shares if share is not None] or [0.0])


def list_notes(histories: Sequence[History]) -> list[str]:
    """What a reader must bear in mind."""
    lines = [f"sweep {history.folder.name} did not come to its end" for history in histories if not history.finished]
    metrics = [query.settings(history).objective.metric for history in histories]
    if metrics[0] != metrics[1]:
        lines.append(f"A was ranked by {metrics[0]}, B by {metrics[1]}: compared by B's")
    if (shares := [_foreign_share(history) for history in histories]) and max(shares) > BUSY:
        percentages = " and ".join(map(share, shares))
        lines.append(f"other programs took {percentages} of the CPU time (before, after): a difference may be theirs")
    imported = sum(not r.origin.is_evidence for history in histories for r in query.records(history))
    return lines + ([f"{imported:,} reported results are left out: they were not measured"] if imported else [])
