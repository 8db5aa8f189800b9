"""`plot bars` and `plot box`: what is drawn, what is said, and what cannot be drawn is one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.__main__ import run
from sweep.report.plots import boxes, naming, options
from sweep.report.plots.drawing import STYLE
from sweep.spec import FailureKind, Origin, UserError
from sweep.spec.settings import Objective
from sweep.store import query
from tests.report.plots.test_scatter import size
from tests.support.records import THROUGHPUT
from tests.support.stored_sweeps import Member, store_sweep
from tests.sweeps.test_bad_input import one_error

FAST, SLOW = [1.0, 1.1, 1.2, 1.3, 1.4] * 4, [2.0, 2.2, 2.4, 2.6, 9.0] * 4


def throughput(value: float, **more: Any) -> dict[str, Any]:
    return {"throughput": value, **more}


def drawn(outputs: Path, objective: Objective = THROUGHPUT, laid_out: bool = False) -> Any:
    """The bars of all trials; to lay them out takes longest."""
    with matplotlib.rc_context(STYLE):
        figure = options.draw(query.trials(outputs, []), objective)
        if laid_out:
            figure.draw_without_rendering()
    return figure


def names(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend(figure: Any) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A good trial, a better one and one that failed."""
    members = [
        Member({"batch": 1}, latencies_ms=[FAST, FAST], more=throughput(100)),
        Member({"batch": 5}, latencies_ms=[SLOW, SLOW], more=throughput(200)),
        Member({"batch": 5, "cores": 4}, "build_failed", more={"kind": FailureKind.PARTIAL_PLACEMENT}),
    ]
    store_sweep(tmp_path, "20260101-000000", members)
    return tmp_path


def test_measured_trial_is_a_bar_and_failed_one_a_gap_with_reason(three: Path) -> None:
    figure = drawn(three)
    rates, shares = figure.axes
    assert names(rates) == ["b5 c1", "b1 c1", "b5 c4"]
    assert texts(rates) == ["200.0 ± 4.0", "100.0 ± 2.0", "× build failed: partial placement"]
    widths = [patch.get_width() for patch in rates.patches]
    assert widths[:2] == [200, 100]
    gap = rates.patches[2]
    assert matplotlib.colors.to_hex(gap.get_facecolor()) == options.GAP.lower()
    assert gap.get_width() == 1.0, "the whole panel, not a bar of no length"
    assert texts(shares) == ["95.4 %", "95.4 %"]
    assert "no result" in legend(figure)
    assert "original model" in legend(figure)


def test_bars_are_ordered_by_the_objective(three: Path) -> None:
    least = replace(THROUGHPUT, name="min_latency", metric="latency_ms_p50", maximize=False)
    figure = drawn(three, objective=least)
    assert names(figure.axes[0]) == ["b1 c1", "b5 c1", "b5 c4"]
    assert "ordered by min latency" in figure.texts[1].get_text()


def test_shared_settings_are_named_once_in_the_heading(three: Path) -> None:
    title, words = (text.get_text() for text in drawn(three).texts)
    assert title == "digits: throughput and accuracy by option"
    assert words == "Intel Xeon, 2 cores · onnxruntime · fp32 · effort quick · 2 repeats · ordered by max throughput"


def test_reported_and_replayed_numbers_are_hatched_and_named(tmp_path: Path) -> None:
    members = [
        Member({"batch": 1}, more=throughput(3)),
        Member({"batch": 2}, more=throughput(2, origin=Origin.REPORTED, repeats=0)),
        Member({"batch": 4}, more=throughput(1, origin=Origin.REPLAYED)),
    ]
    store_sweep(tmp_path, "20260101-000000", members)
    figure = drawn(tmp_path)
    assert [patch.get_hatch() for patch in figure.axes[0].patches] == [None, "////", "xxxx"]
    assert legend(figure)[:2] == ["reported, not measured here", "replayed from reported numbers"]
    assert "2 of 3 reported or replayed, not measured here" in figure.texts[1].get_text()


def test_second_panel_is_accuracy_or_agreement_or_missing(three: Path) -> None:
    found = query.trials(three, ["status=ok"])
    for drop, expected in ((("accuracy",), "throughput and agreement"), (("accuracy", "agreement"), "throughput")):
        less = []
        for each in found:
            agreement = {k: v for k, v in (each.record.agreement or {}).items() if k not in drop}
            less.append(query.Stored(each.history, replace(each.record, agreement=agreement)))
        figure = options.draw(less, THROUGHPUT)
        assert figure.texts[0].get_text() == f"digits: {expected} by option"
        assert len(figure.axes) == 1 + ("agreement" in expected)


def test_unstated_number_is_no_bar(tmp_path: Path) -> None:
    store_sweep(tmp_path, "20260101-000000", [Member({"batch": n}, more=throughput(n)) for n in (1, 2)])
    found = query.trials(tmp_path, [])
    metrics = {k: v for k, v in (found[0].record.metrics or {}).items() if not k.startswith("throughput")}
    silent = query.Stored(found[0].history, replace(found[0].record, metrics=metrics, agreement={"agreement": 0.5}))
    figure = options.draw([silent, found[1]], THROUGHPUT)
    assert texts(figure.axes[0]) == ["2.000 ± 0.040", "not stated"]
    assert len(options.draw([silent, silent], THROUGHPUT).axes[0].get_xticks()) == 0
    assert texts(figure.axes[1]) == ["95.4 %", "not stated"]


@pytest.mark.parametrize("many", [1, 2, 40, 60])
def test_one_option_or_many_are_drawn(tmp_path: Path, many: int) -> None:
    members = [
        Member({"batch": n, "cores": c}, more=throughput(n + c)) for n in range(1, 1 + -(-many // 2)) for c in (1, 2)
    ]
    store_sweep(tmp_path, "20260101-000000", members[:many])
    figure = drawn(tmp_path, laid_out=True)
    assert len(names(figure.axes[0])) == min(many, options.MOST)
    assert ("not shown: 20 ok" in figure.texts[1].get_text()) == (many == 60)
    assert round(figure.get_figwidth() * 130) == pytest.approx(1200, abs=5)
    assert len(set(names(figure.axes[0]))) == min(many, options.MOST)


def test_failed_trials_alone_are_gaps_and_no_box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = [Member({"batch": n}, "build_failed", more={"kind": FailureKind.CRASH}) for n in (1, 2)]
    store_sweep(tmp_path, "20260101-000000", members)
    figure = drawn(tmp_path)
    assert texts(figure.axes[0]) == ["× build failed: crash"] * 2
    assert run(["plot", "box", "--outputs", str(tmp_path)]) == 1
    error = one_error(capsys.readouterr())
    assert "2 trials, none of them ok (build failed: crash)" in error
    assert not list(tmp_path.rglob("*.png"))


def test_names_tell_hosts_sweeps_and_origins_apart(tmp_path: Path) -> None:
    for name, cpu in (("20260101-a", "AMD EPYC 7R13 Processor"), ("20260102-b", "Intel(R) Xeon(R) CPU @ 2.50GHz")):
        store_sweep(tmp_path, name, [Member({"batch": 1}, latencies_ms=[FAST, FAST])], cpu=cpu)
    store_sweep(tmp_path, "20260103-c", [Member({"batch": 1}, more={"origin": Origin.REPORTED})], cpu="AMD EPYC 7R13")
    store_sweep(tmp_path, "20260104-d", [Member({"batch": 1})], cpu="AMD EPYC 7R13")
    two = query.trials(tmp_path, ["20260101", "20260102"])
    assert naming.name_trials(two) == ["AMD EPYC 7R13, 2 cores", "Intel Xeon, 2 cores"]
    assert naming.name_trials(query.trials(tmp_path, ["20260101", "20260103"])) == ["measured", "reported"]
    assert naming.name_trials(query.trials(tmp_path, ["20260101", "20260104"])) == ["20260101-a", "20260104-d"]
    assert naming.name_trials(two[:1]) == ["digits-onnxruntime-fp32-b1-c1"]


def test_indistinguishable_results_are_named_by_key(tmp_path: Path) -> None:
    store_sweep(tmp_path, "20260101-a", [Member({"batch": 1}), Member({"batch": 5})])
    one, other = query.trials(tmp_path, [])
    twin = query.Stored(one.history, replace(one.record, key="f" * 32))
    one.history.trials[twin.record.key] = one.history.trials[one.record.key]
    assert naming.name_trials([one, other, twin]) == [f"b1 ({one.record.key[:6]})", "b5", "b1 (ffffff)"]


def test_two_hosts_as_boxes_from_copied_folders(tmp_path: Path) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(latencies_ms=[FAST, FAST])], cpu="AMD EPYC 7R13")
    store_sweep(tmp_path, "20260102-b", [Member(latencies_ms=[SLOW, SLOW])])
    figure = boxes.draw(query.trials(tmp_path, ["20260102", "20260101"]))
    assert names(figure.axes[0]) == ["AMD EPYC 7R13, 2 cores", "Intel Xeon, 2 cores"]
    assert texts(figure.axes[0]) == [
        "median 1.20 ms, n = 40 requests, 2 repeats",
        "median 2.40 ms, n = 40 requests, 8 beyond the whiskers, 2 repeats",
    ]
    assert "medians 1.20 and 2.40 ms, 2.00-fold" in figure.texts[1].get_text()
    assert figure.axes[0].get_xscale() == "log"


def test_a_small_spread_has_an_axis_from_zero(tmp_path: Path) -> None:
    store_sweep(tmp_path, "20260101-a", [Member(latencies_ms=[FAST])])
    axes = boxes.draw(query.trials(tmp_path, [])).axes[0]
    assert axes.get_xscale() == "linear"
    assert axes.get_xlim()[0] == 0


@pytest.mark.parametrize("origin", [Origin.REPORTED, Origin.REPLAYED])
def test_trial_without_samples_gets_markers(tmp_path: Path, origin: Origin) -> None:
    """A replay has a samples file, but it was drawn from the percentiles: a box of it would pretend."""
    store_sweep(tmp_path, "20260101-a", [Member(latencies_ms=[FAST, FAST], more={"origin": origin})])
    figure = boxes.draw(query.trials(tmp_path, []))
    (text,) = texts(figure.axes[0])
    assert text.startswith("reported percentiles: p50 1.20, p90 ")
    assert not figure.axes[0].patches
    assert legend(figure) == ["p50", "p90", "p99"]


def test_missing_samples_leave_recorded_percentiles(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(three.rglob("*-b1-*/samples.npz"))
    files[0].unlink()
    files[1].write_bytes(b"PK torn")
    (text,) = texts(boxes.draw(query.trials(three, ["batch=1"])).axes[0])
    assert text.startswith("percentiles on record, the samples are gone: p50 1.20")
    found = query.trials(three, ["batch=1"])[0]
    nothing = query.Stored(found.history, replace(found.record, metrics={}))
    with pytest.raises(UserError, match="the samples of 1 trial are gone, and no percentile is on record"):
        boxes.draw([nothing])


def test_remaining_repeat_is_drawn_and_counted(three: Path) -> None:
    min(three.rglob("*-b5-*/samples.npz")).unlink()
    (text,) = texts(boxes.draw(query.trials(three, ["batch=5", "cores=1"])).axes[0])
    assert text.endswith("n = 20 requests, 4 beyond the whiskers, 1 repeat")


latencies = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=60).map(np.asarray)


@given(latencies)
def test_box_contains_its_data(values: Any) -> None:
    found = boxes.make_box(values, 1)
    assert found.low <= found.q1 <= found.median <= found.q3 <= found.high
    assert found.requests == len(values)
    assert found.outliers == sum((values < found.low) | (values > found.high))
    assert min(found.low, *found.beyond, np.inf) <= values.min()
    assert max(found.high, *found.beyond, -np.inf) >= values.max()
    reach = 1.5 * (found.q3 - found.q1)
    assert found.low >= found.q1 - reach - 1e-9
    assert found.high <= found.q3 + reach + 1e-9


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=300).map(np.asarray), st.integers(1, 50))
def test_thinning_keeps_extremes_and_leaves_no_wide_gap(values: Any, bins: int) -> None:
    kept = boxes.thin(values, bins)
    assert set(kept) <= set(values)
    assert (kept[0], kept[-1]) == (values.min(), values.max())
    assert len(kept) <= max(bins, 2 * bins + 2)
    width = (np.log(values.max()) - np.log(values.min())) / bins
    nearest = np.abs(np.log(np.sort(values))[:, None] - np.log(kept)[None, :]).min(axis=1)
    assert (nearest <= width + 1e-9).all()


def test_files_are_written_to_the_requested_path(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("bars", "box"):
        assert run(["plot", kind, "last", "batch=1,5", "--outputs", str(three)]) == 0
        path = three / "sweeps" / "20260101-000000" / "plots" / f"{kind}-batch=1,5.png"
        assert capsys.readouterr().out.strip().endswith(f"plots/{path.name}")
        assert min(size(path)) > 200
    assert run(["plot", "bars", "--outputs", str(three), "--output", str(three / "new" / "a.svg")]) == 0
    assert b"<svg" in (three / "new" / "a.svg").read_bytes()


WRONG = {
    ("20250101",): "no sweep begins with '20250101'",
    ("bach=1",): "no axis 'bach': did you mean 'batch'?",
    ("batch=7",): "no such trial here: there is batch=1,5",
    ("--output", "a.doc"): "a.doc cannot be drawn: end it in .png, .svg or .pdf",
    ("--output", "/dev/null/a.png"): "cannot write /dev/null/a.png: File exists; --output says where else",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_impossible_plot_is_one_line_of_error(
    three: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run(["plot", "bars", *words, "--outputs", str(three)]) == 1
    assert WRONG[words] in one_error(capsys.readouterr())


def test_empty_sweep_has_nothing_to_draw(tmp_path: Path) -> None:
    store_sweep(tmp_path, "20260101-000000", [])
    with pytest.raises(UserError, match="nothing was declared"):
        query.trials(tmp_path, [])
