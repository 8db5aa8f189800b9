"""`report A B`: what counts as the same trial, what as a regression, and what is said of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.report.page import regression as regression_page
from sweep.report.terminal import regression
from sweep.spec import FailureKind, Record, UserError
from sweep.spec.facts import HostFacts
from sweep.spec.settings import Objective
from sweep.store import ledger, query
from sweep.verbs import report
from sweep.verbs.report import EXIT
from sweep.verdict import pairing
from sweep.verdict import regression as regressions
from sweep.verdict.regression import Comparison, holm, judge
from tests.support.records import THROUGHPUT, make_record
from tests.support.stored_sweeps import Member, store_sweep

RATE = "throughput_items_per_s"


def measured(values: Any, **axes: Any) -> Record:
    """A record with these rates in its repeats."""
    record = make_record(repeats=len(values), throughput=float(np.mean(values)), **axes)
    repeats = tuple(
        replace(repeat, throughput_items_per_s=float(value))
        for repeat, value in zip(record.repeats, values, strict=True)
    )
    return replace(record, repeats=repeats)


def around(level: float, spread: float = 0.004, count: int = 5) -> list[float]:
    """Rates with that spread, the same every time."""
    return [level * (1 + spread * step) for step in np.linspace(-1, 1, count)]


def judged(*pairs: tuple[Record, Record], objective: Objective = THROUGHPUT) -> list[str]:
    return [change.kind for change in judge(pairs, objective.metric, objective.maximize, objective)[0]]


# --- what is judged ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "spread", "kind"),
    [
        (0.9, 0.004, "slower"),
        (1.1, 0.004, "faster"),
        (1.0, 0.004, "as before"),
        (0.985, 0.004, "as before"),  # surely slower, and by less than anybody cares about
        (0.9, 0.2, "unclear"),
    ],
)
def test_a_change_counts_where_it_is_surely_beyond_the_margin(factor: float, spread: float, kind: str) -> None:
    assert judged((measured(around(1000, spread)), measured(around(1000 * factor, spread)))) == [kind]


def test_longer_latencies_are_slower() -> None:
    objective = Objective("min_latency", "latency_ms_p50", False)
    records = []
    for level in (1.0, 1.2):
        record = make_record(repeats=4)
        repeats = tuple(
            replace(repeat, latency_ms={"p50": level * (1 + 0.002 * n)}) for n, repeat in enumerate(record.repeats)
        )
        records.append(replace(record, repeats=repeats))
    assert judged((records[0], records[1]), objective=objective) == ["slower"]
    assert judged((records[1], records[0]), objective=objective) == ["faster"]


def test_costs_are_compared_by_rates_so_that_prices_do_not_matter(tmp_path: Path) -> None:
    objective = Objective("min_cost", "usd_per_million_items", False)
    assert regressions._metric(objective) == (RATE, True)


def test_trials_that_work_in_one_sweep_only_broke_or_were_fixed() -> None:
    good, bad = make_record(), make_record("build_failed")
    pairs = [(good, bad), (bad, good), (bad, bad), (good, make_record("unavailable")), (good, good)]
    kinds = ["broke", "fixed", "still fails", "not run"]
    assert judged(*pairs[:4]) == kinds
    assert judged((measured([1000.0]), measured([500.0]))) == ["too few repeats"]


def test_a_trial_that_was_stopped_early_is_compared_too() -> None:
    stopped = replace(measured(around(800)), status=make_record("stopped").status, reason="dominated by x")
    assert judged((measured(around(1000)), stopped)) == ["slower"]


def test_constant_rates_need_no_spread() -> None:
    assert judged((measured([1000.0] * 3), measured([900.0] * 3))) == ["slower"]
    assert judged((measured([1000.0] * 3), measured([1000.0] * 3))) == ["as before"]


def test_holm_is_the_textbook_procedure_and_bonferroni_by_weight_at_its_first_step() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], [1.0] * 4) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.04], [0.8, 0.2]) == pytest.approx([0.0125, 0.04])
    assert holm([0.9, 0.8], [1.0, 1.0]) == [1.0, 1.0]
    assert holm([], []) == []


def test_all_trials_together_show_a_change_that_none_shows_alone() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(0, 0.05, (2, 30, 5))
    pairs = [
        (measured(1000 * np.exp(noise[0, n]), batch=n + 1), measured(920 * np.exp(noise[1, n]), batch=n + 1))
        for n in range(30)
    ]
    changes, common = judge(pairs, RATE, True, THROUGHPUT)
    assert common is not None
    assert common.kind == "slower"
    assert common.ratio.low is not None
    assert common.ratio.high is not None
    assert common.ratio.low < 0.92 < common.ratio.high
    assert sum(change.kind == "slower" for change in changes) < 5


def test_a_trial_with_fewer_repeats_does_not_shift_the_blocks_that_it_is_missing_from() -> None:
    fast, slow = dict.fromkeys(range(6), 10_000.0), dict.fromkeys(range(3), 10.0)
    assert regressions._block_means([fast, slow]) == pytest.approx([math.sqrt(10_000 * 10)] * 6)
    assert len(regressions._block_means([fast, slow, slow])) == 3  # blocks that few trials were in say little


def test_fewer_answers_that_are_the_originals_are_a_regression() -> None:
    def answering(share: float, samples: int = 1000) -> Record:
        record = measured(around(1000))
        agreement = {**(record.agreement or {}), "agreement": share, "samples": samples}
        return replace(record, agreement=agreement, metrics={**(record.metrics or {}), "agreement": share})

    for after, worse in ((0.95, True), (0.992, False), (1.0, False)):
        change = judge([(answering(0.998), answering(after))], RATE, True, THROUGHPUT)[0][0]
        assert change.kind == "as before"
        assert change.worse_answers(0.95) is worse


def test_the_test_of_answers_is_fishers() -> None:
    from scipy.stats import fisher_exact

    for agree_a, agree_b in ((998, 990), (1000, 1000), (500, 450), (10, 0)):
        records = [
            replace(make_record(), agreement={"agreement": agree / 1000, "samples": 1000})
            for agree in (agree_a, agree_b)
        ]
        exact = fisher_exact([[agree_b, 1000 - agree_b], [agree_a, 1000 - agree_a]], alternative="less").pvalue
        assert regressions._p_worse_answers(*records) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("change", [0.0, -math.log1p(0.02)])
def test_false_alarms_stay_within_the_error_with_blocks_in_common(change: float) -> None:
    """Where nothing changed, and where everything changed by as much as nobody cares about."""
    random, alarms, rounds, trials = np.random.default_rng(7), 0, 300, 12
    levels = 1000 * np.exp(random.normal(0, 1, trials))
    blanks = [make_record(batch=n + 1, repeats=4) for n in range(trials)]
    for _ in range(rounds):
        noise = random.normal(0, 0.02, (2, trials, 4)) + random.normal(0, 0.02, (2, 1, 4))
        noise[1] += change
        rates = levels[:, None] * np.exp(noise)
        sides = [
            [
                replace(
                    blank,
                    repeats=tuple(
                        replace(repeat, throughput_items_per_s=float(rate))
                        for repeat, rate in zip(blank.repeats, side[n], strict=True)
                    ),
                )
                for n, blank in enumerate(blanks)
            ]
            for side in rates
        ]
        changes, common = judge(list(zip(*sides, strict=True)), RATE, True, THROUGHPUT)
        alarms += any(c.kind == "slower" for c in changes) or (common is not None and common.kind == "slower")
    assert alarms / rounds <= 0.05 + 2.4 * math.sqrt(0.05 * 0.95 / rounds)


# --- what is the same trial -------------------------------------------------------------------------------------------


def history(outputs: Path, name: str, members: list[Member], **more: Any) -> ledger.History:
    folder = store_sweep(outputs, name, members, **more)
    book = ledger.Ledger(folder)
    book.append("finish", verdict=None, interrupted=False)
    book.close()
    return query.history(outputs, name)


def test_trials_are_matched_across_machines(tmp_path: Path) -> None:
    members = [Member({"batch": 1}), Member({"batch": 5})]
    a = history(tmp_path, "20260101-000000", members, cpu="Intel(R) Xeon(R) Processor")
    b = history(tmp_path, "20260102-000000", [*members[1:], Member({"batch": 9})], cpu="AMD EPYC 7763")
    pairs, vanished, new = pairing.match_trials(a, b)
    assert [(x.settings["batch"], y.settings["batch"]) for x, y in pairs] == [(5, 5)]
    assert [record.settings["batch"] for record in vanished] == [1]
    assert [record.settings["batch"] for record in new] == [9]
    assert any(line.startswith("hardware: Intel Xeon") for line in pairing.list_differences(a, b, pairs))


def test_another_interpreter_of_the_backend_is_the_same_trial_as_long_as_it_is_the_only_one(tmp_path: Path) -> None:
    a = history(tmp_path, "20260101-000000", [Member()])
    b = history(tmp_path, "20260102-000000", [Member()], cpu="AMD EPYC 7763")
    (record,) = b.records.values()
    b.records[record.key] = replace(record, settings={**record.settings, "python": "/new/python"})
    assert len(pairing.match_trials(a, b)[0]) == 1
    a.records["other"] = replace(record, key="other", settings={**record.settings, "python": "/old/python"})
    assert pairing.match_trials(a, b)[0] == []  # two of A would do


def test_another_load_is_another_trial(tmp_path: Path) -> None:
    a = history(tmp_path, "20260101-000000", [Member()])
    b = history(tmp_path, "20260102-000000", [Member()], cpu="AMD EPYC 7763")
    (key,) = b.trials
    b.trials[key] = replace(b.trials[key], load={"name": "poisson", "rate": 100.0})
    assert pairing.match_trials(a, b)[0] == []


def test_differing_versions_effort_and_content_are_listed(tmp_path: Path) -> None:
    versions = [{"builds": ({"key": "b", "seconds": 1.0, "versions": {"onnxruntime": v}},)} for v in ("1.19", "1.20")]
    a = history(tmp_path, "20260101-000000", [Member()])
    b = history(tmp_path, "20260102-000000", [Member()], model="another")
    pairs = [(replace(x, **versions[0]), replace(y, **versions[1])) for x, y in pairing.match_trials(a, b)[0]]
    for each, torch in ((a, "2.6"), (b, "2.7")):
        (each.folder / "environment.json").write_text(json.dumps({"packages": {"torch": torch}}))
    b.header["settings"]["effort"]["repeats"] = 9
    told = pairing.list_differences(a, b, pairs)
    assert "torch: 2.6 -> 2.7" in told
    assert "onnxruntime: onnxruntime: 1.19 -> 1.20" in told
    assert "effort: quick (2 x 0.5 s) -> quick (9 x 0.5 s)" in told
    assert "model digits: its content is another" in told


# --- what is said -----------------------------------------------------------------------------------------------------


def compared(tmp_path: Path, factor: float, *, failing: bool = False) -> tuple[ledger.History, ledger.History]:
    """Two sweeps of two trials; the second is slower by a factor, or one of its trials fails."""
    histories = []
    for name, times in (("20260101-000000", 1.0), ("20260102-000000", factor)):
        members = [Member({"batch": batch}, more={"repeats": 5}) for batch in (1, 5)]
        found = history(tmp_path, name, members)
        for key, record in found.records.items():
            values = around((record.metrics or {})[RATE] * times)
            changed = measured(values, batch=record.settings["batch"])
            found.records[key] = replace(changed, key=key, sweep=name)
        histories.append(found)
    a, b = histories
    if failing:
        key = next(iter(b.records))
        broken = make_record("build_failed", kind=FailureKind.COMPILER_CRASH, reason="<script>boom</script>")
        b.records[key] = replace(broken, key=key)
    return a, b


def test_a_regression_is_found_named_and_gives_status_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = compared(tmp_path, 0.8)
    page = tmp_path / "pages" / "regressions.html"
    assert report.compare_sweeps(a, b, page) == 3
    text = capsys.readouterr().out
    assert "→ Regression: 2 trials are slower, digits-onnxruntime-fp32-b" in text
    assert "-20.0 % (" in text
    assert "All 2 trials together: -20.0 %" in text
    html = page.read_text()
    assert "Regression: 2 trials are slower" in html
    assert html.count("<tr") == 1 + 2 + 1  # a head, two trials, all together


def test_no_regression_gives_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.compare_sweeps(*compared(tmp_path, 1.0), tmp_path / "page.html") == 0
    assert "→ No regression shown: of 2 trials compared, 2 as before." in capsys.readouterr().out


def test_a_trial_that_broke_is_a_regression_and_its_text_is_not_markup(tmp_path: Path) -> None:
    found = regressions.compare(*compared(tmp_path, 1.0, failing=True))
    assert found.status == "regression"
    assert "no longer works" in regression.summarize(found)
    html = "".join(section.html for section in regression_page.list_sections(found))
    assert "<script>boom" not in html
    assert "&lt;script&gt;boom" in html


def test_nothing_in_common_gives_status_4(tmp_path: Path) -> None:
    a = history(tmp_path, "20260101-000000", [Member({"batch": 1})])
    b = history(tmp_path, "20260102-000000", [Member({"batch": 5})])
    found = regressions.compare(a, b)
    assert EXIT[found.status] == 4
    assert regression.summarize(found).startswith("Nothing to compare")
    assert len(found.vanished) == len(found.new) == 1


def test_a_sweep_is_not_compared_with_itself(tmp_path: Path) -> None:
    a = history(tmp_path, "20260101-000000", [Member()])
    with pytest.raises(UserError, match="both 20260101-000000"):
        regressions.compare(a, a)


def test_a_sweep_that_was_killed_is_compared_by_what_it_has(tmp_path: Path) -> None:
    a, b = compared(tmp_path, 1.0)
    b.finished = False
    b.records.pop(next(iter(b.records)))
    found = regressions.compare(a, b)
    assert [change.kind for change in found.changes].count("not run") == 1
    assert "sweep 20260102-000000 did not come to its end" in found.notes


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits(tmp_path: Path, width: int) -> None:
    found = regressions.compare(*compared(tmp_path, 0.8))
    text = shown(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert "slower" in text


def shown(found: Comparison, width: int) -> str:
    import io

    from sweep.report.terminal.display import Display

    stream = io.StringIO()
    Display(plain=True, stream=stream, width=width).show(regression.make_parts(found, width))
    return stream.getvalue()


def test_report_notes_a_busy_machine(tmp_path: Path) -> None:
    a, b = compared(tmp_path, 1.0)
    for key, record in b.records.items():
        repeats = tuple(replace(r, host=HostFacts(foreign_cpu_share=0.4)) for r in record.repeats)
        b.records[key] = replace(record, repeats=repeats)
    told = pairing.list_notes((a, b))
    assert told == ["other programs took 0 % and 40 % of the CPU time (before, after): a difference may be theirs"]
