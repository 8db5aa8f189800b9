"""Pictures are drawn for any sweep: one trial, all failed, nothing at all, very many."""

import struct
import subprocess
import sys
from dataclasses import replace

import matplotlib
import pytest
from matplotlib.figure import Figure

from sweep.report.plots import heatmap, scatter
from sweep.report.plots.drawing import STYLE, find_points
from sweep.spec import FailureKind
from tests.support.records import make_record, make_records, make_verdict

PNG = b"\x89PNG\r\n\x1a\n"


def size(path):
    data = path.read_bytes()
    assert data.startswith(PNG)
    return struct.unpack(">II", data[16:24])


def drawn(records, folder):
    paths = scatter.write(records, make_verdict(records), folder)
    assert all(min(size(path)) > 200 for path in paths)
    return [path.name for path in paths]


def test_a_sweep_with_failures_and_impossible_cells(tmp_path):
    assert drawn(make_records(), tmp_path) == ["throughput_latency.png", "batch_cores.png"]


def test_one_trial_has_no_heat_map(tmp_path):
    assert drawn([make_record()], tmp_path / "new") == ["throughput_latency.png"]


@pytest.mark.parametrize("status", ["build_failed", "invalid"])
def test_picture_without_measurements(tmp_path, status):
    records = [make_record(status, batch=n) for n in (1, 5)]
    assert drawn(records, tmp_path) == ["throughput_latency.png", "batch_cores.png"]


def test_picture_without_trials(tmp_path):
    assert drawn([], tmp_path) == ["throughput_latency.png"]


def test_many_panels_and_odd_names(tmp_path):
    records = [
        make_record(backend=f"back$end_{n}^{{", precision=p, batch=b, replicas=b)
        for n in range(5)
        for p in ("fp32", "int8")
        for b in (1, 64)
    ]
    assert drawn(records, tmp_path) == ["throughput_latency.png", "batch_cores.png"]


def test_equal_numbers_and_missing_percentiles(tmp_path):
    records = [make_record(batch=n, throughput=5.0, latency_ms=1.0, spread=0.0) for n in (1, 2, 3)]
    for record in records:
        del record.metrics["latency_ms_p99"]
    assert len(drawn(records, tmp_path)) == 2


def test_pareto_front_is_joined_by_latency():
    pairs = [(1, 10), (2, 30), (3, 20), (4, 40), (4, 35), (1, 5)]
    records = [make_record(batch=n, latency_ms=x, throughput=y) for n, (x, y) in enumerate(pairs, 1)]
    verdict = replace(make_verdict(records), front=tuple(records[n].key for n in (3, 1, 0)))
    with matplotlib.rc_context(STYLE):
        (axes,) = scatter.draw_sheet(records, verdict).axes
    (line,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert line.get_xydata().tolist() == [[1, 10], [2, 30], [4, 40]]


def test_hits_have_the_place_of_their_record():
    records = [make_record("invalid", batch=9), *(make_record(batch=n, cores=c) for n in (1, 5) for c in (1, 2))]
    verdict, grid = make_verdict(records), heatmap.make_grid(records)
    with matplotlib.rc_context(STYLE):
        points = scatter.draw(Figure(layout="constrained"), records, verdict.front, verdict.winner)
        cells = heatmap.draw(Figure(), grid, 1, records, verdict.winner)
    places = {point.record.key: place for place, point in enumerate(find_points(records), 1)}
    assert [hit.trial for hit in points] == list(places.values())
    assert [(hit.x, hit.y) for hit in points] == [(p.latency, p.throughput) for p in find_points(records)]
    axes = [(grid.batches[round(hit.y)], grid.cores[round(hit.x)]) for hit in cells]
    settings = [(records[hit.trial].settings["batch"], records[hit.trial].settings["cores"]) for hit in cells]
    assert axes == settings
    assert sorted(hit.trial for hit in cells) == [0, 1, 2, 3, 4]
    assert all(hit.side for hit in cells)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_failed_cells_name_their_failure():
    records = [
        make_record(batch=1, cores=1, throughput=123.4),
        make_record("build_failed", batch=1, cores=2, kind=FailureKind.UNSUPPORTED_DTYPE),
        make_record("invalid", batch=2, cores=2),
    ]
    with matplotlib.rc_context(STYLE):
        figure = heatmap.draw_sheet(records, make_verdict(records))
    assert texts(figure) == ["123", "dtype", "invalid"]
    hatches = [patch.get_hatch() for patch in figure.axes[0].patches if patch.get_hatch()]
    assert hatches == ["////"]


def test_failures_are_counted_in_the_scatter_and_labels_do_not_cover_each_other():
    records = [make_record(batch=n, cores=c) for n in (1, 2, 5) for c in (1, 2)] + [make_record("rejected", batch=9)]
    with matplotlib.rc_context(STYLE):
        figure = scatter.draw_sheet(records, make_verdict(records))
    assert "not shown: 1 rejected" in " ".join(text.get_text() for text in figure.texts)
    figure.draw_without_rendering()
    labels = [text for text in figure.axes[0].texts if text.get_text()]
    assert len(labels) == 6
    boxes = [label.get_window_extent() for label in labels]
    assert not [(a, b) for n, a in enumerate(boxes) for b in boxes[:n] if a.overlaps(b)]


@pytest.mark.process
def test_matplotlib_is_imported_only_to_draw():
    code = "import sys, sweep.report.plots.scatter; sys.exit('matplotlib' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
