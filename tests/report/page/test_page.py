"""The page of a sweep: what it tells, in which order, of any sweep there may be; nothing gets out of it."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sweep.__main__ import run
from sweep.report import page
from sweep.report.page import (
    answers,
    builds,
    capacity,
    failures,
    gather,
    latency,
    markup,
    noise,
    surroundings,
    top,
    tradeoff,
)
from sweep.report.page import trials as table
from sweep.report.page.markup import Cell, Column, Row, Section
from sweep.spec import Status, StopReason, UserError
from sweep.spec.facts import CapacityFacts, HostFacts, ProbeFacts
from sweep.store import ledger, query
from sweep.store.layout import SweepFolder
from sweep.verdict import select
from tests.support.page_sweeps import SWEEP, html, latencies, members, repeated
from tests.support.page_sweeps import stored as store
from tests.support.records import make_load, make_measurement
from tests.support.running import sweep
from tests.support.stored_sweeps import Member

FAILED = [Member({}, "build_failed")]  # nothing to draw
PLAIN = (top.choice, table.section, answers.section, failures.section, builds.section, surroundings.environment)
VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>"


class Reader(HTMLParser):
    """Collects what must hold for every page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids[str(values["id"])] += 1
        for name, value in attrs:
            text = value or ""
            outside = re.match(r"\s*(https?:|//|javascript:)", text) and not name.startswith("xmlns")
            if name.startswith("on") or outside:
                self.wrong.append(f"{tag} {name}={text}")
            if name == "src" and not text.startswith("data:"):
                self.wrong.append(f"{tag} {name}={text}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)


def read(text: str) -> str:
    """What a person reads of a page that is sound."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.wrong == []
    assert reader.open == []
    assert [name for name, times in reader.ids.items() if times > 1] == []
    words = " ".join(" ".join(reader.text).split())
    assert page.MISSING not in words
    return words


def headings(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep of `text` is."""
    folder = tmp_path_factory.mktemp("outputs")
    store(folder)
    return folder


@pytest.fixture(scope="module")
def text(outputs: Path) -> str:
    """The page of a sweep that has something to say in every usual part."""
    return html(outputs / "sweeps" / SWEEP)


def test_verdict_comes_first_and_the_rest_follows_in_order(outputs: Path, text: str) -> None:
    words = read(text)
    history = query.history(outputs, SWEEP)
    verdict = select.choose(query.records(history), query.settings(history).objective)
    assert verdict.kind != "none"
    assert re.search(r"<h1>(.*?)</h1>", text, re.DOTALL)
    assert words.index(verdict.sentence) < words.index("The choice", words.index(verdict.sentence))
    assert headings(text) == [
        *("The choice", "All trials", "Throughput against latency", "What would change it", "Batch × cores", "Latency"),
        *("Accuracy and agreement", "What did not work", "Builds", "Noise", "Environment"),
    ]


def test_page_requests_nothing_from_outside(text: str) -> None:
    read(text)
    assert "default-src 'none'" in text
    assert re.findall(r"@import|url\((?!#)", text) == []
    assert len(text) < 600_000


def test_hostile_names_reasons_and_logs_stay_text(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(f"before\n{HOSTILE}\n\x00\ud7ff")
    some = [
        Member({"backend": HOSTILE, "batch": 1}, latencies_ms=latencies(1, 1.0)),
        Member({"model": HOSTILE, "batch": 2}, latencies_ms=latencies(2, 2.0)),
        Member({"batch": 3}, "build_failed", more={"reason": HOSTILE, "log": str(log)}),
        Member({"batch": 3, "cores": 2}, "invalid", more={"reason": HOSTILE}),
    ]
    text = html(store(tmp_path, some))
    words = read(text)
    assert text.count("<script>") == 1
    assert HOSTILE in words, "it is shown as it is"
    assert "<img src=x" not in text


def test_lone_surrogates_can_be_written() -> None:
    text = page.document("\ud800", [Section("a", "A", "<p>b</p>")])
    assert "?" in text
    text.encode("utf-8")


def test_page_of_one_trial(tmp_path: Path) -> None:
    text = html(store(tmp_path, [Member({}, latencies_ms=latencies(0, 1.0), more={"repeats": 3})]))
    words = read(text)
    assert "no other trial qualifies" in words
    assert "Batch × cores" not in headings(text)
    assert "What did not work" not in headings(text)


def test_page_of_one_repeat_per_trial(tmp_path: Path) -> None:
    some = [Member({"batch": n}, latencies_ms=latencies(n, n, repeats=1), more={"repeats": 1}) for n in (1, 2)]
    text = html(store(tmp_path, some))
    assert "Not decided yet" in read(text)
    assert "Noise" not in headings(text)


def test_page_of_failures_only(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    some = [Member({"batch": n}, "build_failed", more={"reason": "it died", "log": str(log)}) for n in (1, 2)]
    text = html(store(tmp_path, some))
    words = read(text)
    assert "Nothing to choose" in words
    assert headings(text) == ["All trials", "Batch × cores", "What did not work", "Builds", "Environment"]
    assert "2 build failed crash: it died" in words
    assert "the last 25 lines of the log line 75" in words
    assert "line 99" in words
    assert "line 74 " not in words


def test_page_without_trials(tmp_path: Path) -> None:
    read(html(store(tmp_path, [])))


def test_running_sweep_says_so(tmp_path: Path) -> None:
    folder = store(tmp_path, finished=False)
    book = ledger.Ledger(folder)
    words = read(html(folder, *PLAIN))
    book.close()
    assert "still running" in words
    assert "No verdict yet" in words
    assert "So far:" in words
    assert f"python -m sweep report {SWEEP} --outputs" in words


def test_killed_sweep_shows_its_finished_repeats(tmp_path: Path) -> None:
    folder = store(tmp_path, finished=False)
    history = ledger.History(folder)
    last = [r for r in history.records.values() if r.status is Status.OK]
    book = ledger.Ledger(tmp_path / "sweeps" / "20260202-000000")
    book.append("sweep", **{k: v for k, v in history.header.items() if k not in ("kind", "time")})
    for trial in history.trials.values():
        book.append("trial", trial=trial)
    for record in last[:2]:
        repeated(book, record)
    book.close()
    with (book.path).open("ab") as file:
        file.write(b'{"crc":"0000","kind":"reco')  # torn
    text = html(book.path.parent)
    words = read(text)
    assert "killed" in words
    assert f"python -m sweep resume {book.path.parent.name}" in words
    assert "0 trials of 8 ended, 6 repeats measured" in words
    assert "3 of 2 repeats" in words, "its effort asks for two"
    assert "Leads so far" not in words
    assert "Throughput against latency" in headings(text)


def test_interrupted_sweep_has_a_verdict_and_says_so(tmp_path: Path) -> None:
    folder = store(tmp_path, finished=False)
    book = ledger.Ledger(folder)
    book.append("finish", verdict=None, interrupted=True)
    book.close()
    words = read(html(folder, *PLAIN))
    assert "was interrupted" in words
    assert "No verdict yet" not in words


def test_percentiles_of_too_few_samples_are_not_printed(tmp_path: Path) -> None:
    few = {"metrics": {"sample_count": 60.0}}
    some = [Member({"batch": n}, latencies_ms=latencies(n, n, 20), more={"repeats": 3, **few}) for n in (1, 2)]
    folder = store(tmp_path, some)
    history = ledger.History(folder)
    book = ledger.Ledger(folder)
    for record in history.records.values():
        known = {name: value for name, value in (record.metrics or {}).items() if name not in TAILS}
        book.append("record", record=replace(record, metrics=known))
    book.append("finish", verdict=None, interrupted=False)
    book.close()
    words = read(html(folder, *PLAIN, latency.section))
    assert "a p95 needs 100, a p99 needs 500" in words
    assert "60 requests; too few for a p99" in words
    assert "n = 60" in words


TAILS = ("latency_ms_p95", "latency_ms_p99")


def test_failed_cells_stand_out_and_give_the_reason(text: str) -> None:
    part = text[text.index('<section id="heat">') : text.index('<section id="latency">')]
    words = read(f"<div>{part}</div>")
    assert "a crash: the compiler died (SIGSEGV)" in words
    assert "c 8 cores asked for, this machine has 4" in words
    wide = part[part.index('<div class="wide">') : part.index('<div class="narrow">')]
    assert re.findall(r">(crash [ab]|invalid c)<", wide) == ["crash a", "crash b", "invalid c"]
    assert len(re.findall(r"fill: url\(#", wide)) == 2, "hatched"
    assert len(re.findall(r"stroke-dasharray", wide)) == 1, "dashed"
    assert wide.count('class="hit area"') == 8


def test_agreement_shows_who_was_right_and_how_certain_that_is(tmp_path: Path) -> None:
    agreement = {
        "samples": 1000,
        "agreement": 0.996,
        "agreement_low": 0.99,
        "agreement_high": 0.998,
        "accuracy": 0.95,
        "accuracy_low": 0.935,
        "accuracy_high": 0.962,
        "reference_accuracy": 0.952,
        "mcnemar_p": 0.625,
        "who_was_right": {"both": 949, "only_reference": 3, "only_candidate": 1, "neither": 47},
    }
    words = read(html(store(tmp_path, agreement=agreement), answers.section))
    assert "99.6 %" in words
    assert "949 3 1 47 0.62" in words
    assert "3 v 1 says nothing about accuracy" in words
    assert "and 2 more" in words, "trials with the same answers share a line"


def test_answers_without_classes_are_compared_by_distance(tmp_path: Path) -> None:
    agreement = {"samples": 9, "max_abs_error": 0.25, "cosine_min": 0.999}
    words = read(html(store(tmp_path, agreement=agreement), answers.section))
    assert "largest difference" in words
    assert "0.999000" in words


def test_every_output_has_a_line_of_its_own(tmp_path: Path) -> None:
    logits = {"output": 0, "name": "logits", "shape": [10], "dtype": "float32", "relative_error": 0.0123}
    logits |= {"max_abs_error": 0.5, "cosine_mean": 0.99, "equal": None}
    tokens = {"output": 1, "name": None, "shape": [6, 2], "dtype": "int64", "relative_error": None}
    tokens |= {"max_abs_error": None, "cosine_mean": None, "equal": 0.75}
    agreement = {"samples": 9, "agreement": 1.0, "outputs": [logits, tokens]}
    words = read(html(store(tmp_path, agreement=agreement), answers.section))
    assert "0 logits 10 float32 0.0123 0.500 0.990" in words
    assert "1 6×2 int64" in words
    assert "75 %" in words


def test_capacity_is_drawn_with_its_probes(tmp_path: Path) -> None:
    curve = [
        ProbeFacts(100.0 * n, 500, late, 100.0 * n, overloaded=late > 0.5, fitted=late)
        for n, late in ((1, 0.0), (2, 0.002), (3, 0.4), (4, 0.9))
    ]
    found = CapacityFacts(20.0, 210.0, False, tuple(curve), "raise load.probes")
    repeats = tuple(replace(make_measurement(n), capacity=found) for n in range(2))
    text = html(store(tmp_path, repeats=repeats), capacity.section)
    words = read(text)
    assert "Capacity" in headings(text)
    assert "longer than 20.0 ms" in words
    assert "raise load.probes" in words
    assert text.count("the queue grew") >= 2


def test_open_load_says_whether_it_was_served(tmp_path: Path) -> None:
    load = make_load(finished=880, left=20, overloaded=True)
    repeats = tuple(replace(make_measurement(n), load=load) for n in range(2))
    words = read(html(store(tmp_path, repeats=repeats), latency.section))
    assert "queue grows in 2 of 2 repeats" in words


def test_drift_is_drawn_and_described(tmp_path: Path) -> None:
    folder = store(tmp_path)
    told = gather.read(folder)
    points = [{**row, "level": 0.9 if row["block"] == 1 else 1.0} for row in told.drift["points"]]
    sentence = "The machine became 10 % slower in block 2."
    document = {**told.drift, "points": points, "sentences": [sentence], "findings": [{"kind": "shift"}]}
    (folder / "drift.json").write_text(json.dumps({**document, "control": points[0]["trial"]}))
    text = html(folder, noise.section)
    words = read(text)
    assert words.count(sentence) >= 2, "in the head and beside the picture"
    assert "Orange: the level" in words
    assert "#D55E00".lower() in text.lower()


def test_disturbances_are_listed_once_in_the_head(tmp_path: Path) -> None:
    host = HostFacts(foreign_cpu_share=0.3, steal_share=0.2)
    unsteady = {"stable": False, "requests": 10}
    repeats = tuple(replace(make_measurement(n), level=0.9, host=host, warmup=unsteady) for n in range(2))
    folder = store(tmp_path, repeats=repeats)
    drift = gather.read(folder).drift
    told = ["The machine became 10 % slower.", "During 2 of 9 measurements other programs used 30 % of the CPU time."]
    document = {**drift, "sentences": told, "findings": [{"kind": "shift"}], "marks": [{"what": "foreign_cpu_share"}]}
    (folder / "drift.json").write_text(json.dumps(document))

    head = headed(folder, "Noise", "Trials")
    assert head.startswith(" ".join(told))
    assert "of its usual speed" not in head
    assert "other programs took" not in head
    assert head.count("The hypervisor took 20 % of the CPU time") == 1
    assert head.count("the warm-up did not settle in 10 of 10 repeats") == 1

    (folder / "drift.json").write_text(json.dumps({**document, "sentences": [], "findings": [], "marks": []}))
    head = headed(folder, "Noise", "Trials")
    assert head.startswith("The machine ran at 0.90x of its usual speed")
    assert "other programs took 30 % of the CPU time" in head


def test_race_says_how_far_its_forecast_reached(tmp_path: Path) -> None:
    folder = store(tmp_path)
    grid = gather.read(folder)
    assert grid.forecast == "57 s"
    racing = replace(grid.settings, effort=replace(grid.settings.effort, repeats_max=30))
    race = replace(grid, settings=racing)
    assert race.forecast == "57 s to the first look"
    for part in (top.header, surroundings.environment):
        assert "57 s to the first look" in str(part(race))
        assert "57 s to the first look" not in str(part(grid))
    assert replace(grid, plan={}).forecast == ""


def headed(folder: Path, name: str, following: str) -> str:
    """One entry of the head."""
    tiles = read(f"<div>{top.header(gather.read(folder))}</div>").partition("Evidence")[2]
    return tiles.partition(name)[2].partition(following)[0].strip()


def test_bug_in_one_part_leaves_the_rest_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> None:
        raise ValueError("a <bug>")

    monkeypatch.setattr("sweep.report.page.tradeoff.section", broken)
    text = html(store(tmp_path, [Member({}, latencies_ms=latencies(0, 1.0))]))
    assert f"{page.MISSING} test_page-broken: ValueError: a &lt;bug&gt;" in text
    assert "Latency" in headings(text)


def test_drawings_share_no_ids(text: str) -> None:
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    assert used <= set(ids)
    assert "DejaVu" not in re.sub(r"--mono:.*", "", text), "text is in the page's font"


def test_same_sweep_gives_the_same_page(outputs: Path, text: str) -> None:
    assert html(outputs / "sweeps" / SWEEP) == text


def test_logs_are_found_in_moved_outputs(tmp_path: Path) -> None:
    log = tmp_path / "store" / "builds" / "KEY" / "artifact" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("it said so")
    elsewhere = "/home/somebody/outputs/store/builds/KEY/artifact/log.txt"
    some = [Member({"batch": n}, "build_failed", more={"log": elsewhere}) for n in (1, 2)]
    assert "it said so" in read(html(store(tmp_path, some), failures.section))


def test_verb_writes_the_page_and_prints_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = store(tmp_path, FAILED)
    assert run(["report", SWEEP, f"--outputs={tmp_path}"]) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert (folder / "report.html").exists()
    other = tmp_path / "new" / "page.html"
    assert run(["report", f"--outputs={tmp_path}", f"--output={other}"]) == 0
    assert other.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "b", "c"], "one sweep, or two"),
        (["last", SWEEP], f"both are sweep {SWEEP}"),
        (["2031"], "no sweep begins with '2031'"),
    ],
)
def test_impossible_report_is_one_line_of_error(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path)
    assert run(["report", *words, f"--outputs={tmp_path}"]) == 1
    assert told in capsys.readouterr().err


def test_unwritable_folder_is_one_line_of_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, FAILED)
    (tmp_path / "file").write_text("")
    assert run(["report", f"--outputs={tmp_path}", f"--output={tmp_path / 'file' / 'page.html'}"]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_two_sweeps_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path)
    later = store(tmp_path, name="20260202-090000")
    assert run(["report", SWEEP, "2026020", f"--outputs={tmp_path}"]) == 0
    capsys.readouterr()
    read((later / f"report-against-{SWEEP}.html").read_text(encoding="utf-8"))


def test_ledger_without_beginning_is_a_user_error(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "20260101-000000"
    ledger.Ledger(folder).close()
    with pytest.raises(UserError, match="has no beginning"):
        page.write(folder)


@pytest.mark.usefixtures("warm_pool")
def test_every_sweep_writes_its_page(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "batch=1,2", "report=html")
    assert status == 0
    text = (history.folder / "report.html").read_text(encoding="utf-8")
    words = read(text)
    assert history.folder / "report.html" in SweepFolder(history.folder).left()
    assert str((history.verdict or {})["sentence"]) in words
    assert "still running" not in words
    assert "Noise" in headings(text)


@pytest.mark.usefixtures("fake_pool")
def test_sweep_without_page_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, history = sweep(tmp_path, "batch=1,2", "report=none")
    assert status == 0
    said = capsys.readouterr().out
    assert not [*history.folder.glob("*.html"), *history.folder.glob("*.png")]
    assert {"results.csv", "verdict.json"} <= {path.name for path in SweepFolder(history.folder).left()}
    assert "\nreport  " not in said
    (asked,) = re.findall(r"\nfiles      .*    # one page of them: python -m sweep (.+)", said)
    assert run(shlex.split(asked)) == 0
    text = (history.folder / "report.html").read_text(encoding="utf-8")
    assert str((history.verdict or {})["sentence"]) in read(text)
    assert "Noise" in headings(text)


def test_tables_are_escaped_and_sortable() -> None:
    columns = [Column("a<b", right=True), Column("c", falling=True)]
    made = markup.table(columns, [Row([Cell("1", 1.5), Cell("x")], {"title": '"<'})], name="t")
    assert "a&lt;b" in made
    assert 'data-v="1.5"' in made
    assert 'title="&quot;&lt;"' in made
    assert 'data-falling="1"' in made
    read(made)


def test_intervals_are_drawn_within_their_scale() -> None:
    drawn = markup.whisker(0.99, 0.5, 1.2, (0.9, 1.0))
    assert 'd="M2 6H98M2 3V9M98 3V9"' in drawn
    assert markup.whisker(None, 0.5, 1.2, (0.9, 1.0)) == ""
    assert "<circle" in markup.whisker(0.95, None, None, (0.9, 1.0))


def test_best_trials_have_distinct_colours(tmp_path: Path) -> None:
    told = gather.read(store(tmp_path))
    colours = [told.colour(record) for record in told.best]
    assert len(set(colours)) == len(colours) == 5
    assert told.colour(told.records[-1]) not in colours
    assert len(members()) == len(told.records)


def test_trials_stopped_by_a_race_keep_numbers_and_are_no_failures(tmp_path: Path) -> None:
    folder = store(tmp_path)
    best, *others = [r for r in gather.read(folder).records if r.status is Status.OK]
    book = ledger.Ledger(folder)
    for record in others[1:]:
        told = f"dominated by {best.label}: 0.5x"
        stop = StopReason.DOMINATED
        stopped = replace(record, status=Status.STOPPED, reason=told, stop=stop, dominated_by=best.key)
        book.append("record", record=stopped)
    book.append("finish", verdict=None, interrupted=False)
    book.close()
    told = gather.read(folder)
    rates = [r.numbers["throughput_items_per_s"] for r in told.records if r.metrics]
    assert rates == sorted(rates, reverse=True), "they follow those with a rank"
    text = html(folder, table.section, tradeoff.section, failures.section, builds.section)
    read(text)
    assert text.count('<span class="tag stopped">dominated</span>') == 3
    part = text[text.index('<section id="failures">') : text.index('<section id="builds">')]
    assert "dominated" not in part
    assert text.count('class="hit"') >= 2 * 5, "they are drawn"
