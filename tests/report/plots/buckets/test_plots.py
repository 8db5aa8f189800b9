"""Pictures of bucket lists: what is on them, for one dimension and two, and where little or nothing is known."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from sweep.__main__ import run
from sweep.engine import summary
from sweep.report.plots.buckets import plots as bucket_plots
from sweep.report.plots.buckets.view import LOOKS, View
from sweep.report.plots.drawing import STYLE
from sweep.spec import Json, from_json
from sweep.store.layout import SweepFolder
from sweep.text import number
from sweep.verdict.buckets.results import ListRow
from tests.report.plots.test_scatter import size
from tests.support.bucket_groups import asked, group, images, lengths, parsed, unmeasured
from tests.support.records import make_settings, make_verdict
from tests.support.stored_sweeps import Member, store_sweep
from tests.sweeps.test_bad_input import one_error

LENGTHS, PADDING, BY_SIZE, BY_K = "How long", "What is computed", "What a request takes", "What each further bucket"


@pytest.fixture(scope="module")
def found() -> Json:
    return group(lengths())


@pytest.fixture(scope="module")
def small(found: Json) -> Json:
    """A group with one panel, for tests of files: a whole picture takes a second."""
    return with_rows(found, found["rows"][:1], traffic=None)


@pytest.fixture(scope="module")
def figure(found: Json) -> Any:
    return drawn(found, laid_out=True)


def drawn(given: Json, laid_out: bool = False) -> Any:
    """The picture of a group; where its texts stand is known only of one that is laid out, which takes longest."""
    with matplotlib.rc_context(STYLE):
        figure = bucket_plots.draw(parsed(given))
        if laid_out:
            figure.draw_without_rendering()
    return figure


def panels(figure: Any) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def panel(figure: Any, title: str) -> Any:
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def heading(figure: Any) -> str:
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def levels(axes: Any, width: float) -> list[float]:
    """Heights of the level lines of that width."""
    flat = [line for line in axes.lines if line.get_linewidth() == width and len(set(line.get_ydata())) == 1]
    return [float(line.get_ydata()[0]) for line in flat]


def row(given: Json, name: str) -> Json:
    return next(each for each in given["rows"] if each["name"] == name)


def with_rows(given: Json, rows: list[Json], **more: Any) -> Json:
    return {**given, "rows": rows, **more}


def test_group_has_four_panels_and_a_heading(figure: Any) -> None:
    assert [title.split(",")[0].split(":")[0] for title in panels(figure)] == [
        "How long the items are",
        "What is computed for them",
        "What a request takes",
        "What each further bucket gains",
    ]
    told = heading(figure)
    assert "1,200 items of snippets · length: 4 to 178" in told
    assert "the fastest measured" in told
    assert "best lists measured against predicted: +" in told


def test_bars_show_lengths_and_lines_show_buckets_with_their_share(found: Json, figure: Any) -> None:
    axes = panel(figure, LENGTHS)
    view = View(parsed(found))
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(100)
    lines = [line.get_xdata()[0] for line in axes.lines]
    assert lines == [shape[0] + 0.5 for shape in view.shapes]
    assert sum(view.shares) == pytest.approx(1)
    assert [text.split(":")[0] for text in legend(axes)] == [str(shape[0]) for shape in view.shapes]
    assert legend(axes)[0].endswith(f"{100 * view.shares[0]:.1f}".removesuffix(".0") + " %")


def test_computation_is_split_into_needed_and_padding(found: Json, figure: Any) -> None:
    axes = panel(figure, PADDING)
    filled = sum(bar.get_height() for bar in axes.patches if bar.get_hatch())
    needed = sum(bar.get_height() for bar in axes.patches if not bar.get_hatch())
    assert filled + needed == pytest.approx(100)
    best = View(parsed(found)).drawn
    assert best is not None
    assert best.predicted is not None
    assert filled / 100 == pytest.approx(best.predicted.padding)
    maximum = row(found, "pad to max")["predicted"]["padding"]
    assert f"padding would be {100 * maximum:.1f} %" in legend(axes)[-1]


def test_latency_by_length_is_a_staircase_beside_its_references(found: Json, figure: Any) -> None:
    axes = panel(figure, BY_SIZE)
    view = View(parsed(found))
    told = view.latencies(view.drawn)
    assert levels(axes, 2.6) == [each.latency_ms_mean for each in told.values()]
    steps = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 2.6]
    assert [begin for begin, _ in steps[1:]] == [end for _, end in steps[:-1]]
    assert steps[-1][1] == 178.5
    assert len(axes.collections) == len(told)  # a band from p50 to p99 each
    maximum = row(found, "pad to max")["measured"]["buckets"][0]["latency_ms_mean"]
    assert levels(axes, 1.4) == [maximum]
    points = next(line for line in axes.lines if line.get_linestyle() == "None")
    assert points.get_xdata().tolist() == [each["size"][0] for each in found["curve"]]
    assert points.get_ydata() == pytest.approx([1000 * each["seconds"] for each in found["curve"]])
    dynamic = next(line for line in axes.lines if line.get_marker() == ".")
    assert len(dynamic.get_xdata()) == len(row(found, "dynamic")["measured"]["sizes"])


def test_latency_by_number_of_buckets_has_predicted_and_measured(found: Json, figure: Any) -> None:
    axes = panel(figure, BY_K)
    best = [each for each in found["rows"] if each["best_for_k"]]
    line = axes.lines[0]
    assert list(line.get_xdata()) == [each["k"] for each in best]
    assert list(line.get_ydata()) == [each["predicted"]["item_latency_ms"] for each in best]
    for name in ("pad to max", "powers of two"):
        (mark,) = (each for each in axes.lines if each.get_marker() == LOOKS[name][1])
        assert mark.get_ydata()[0] == row(found, name)["measured"]["item_latency_ms_mean"]
    marks = [each for each in axes.lines if each.get_marker() == "o" and to_hex(each.get_color()) == "#0072b2"]
    assert len(marks) == sum(each["name"] == "best" and each["measured"] is not None for each in found["rows"])
    assert row(found, "dynamic")["measured"]["item_latency_ms_mean"] in levels(axes, 1.5)
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks[0] == "1\n178"
    assert " ".join(ticks[5].split()) == " ".join(map(str, [6, *(bucket[0] for bucket in best[5]["buckets"])]))
    assert "p50 to p99 of requests" in legend(axes)
    second = best[1]["predicted"]["item_latency_ms"]
    gain = 1 - second / best[0]["predicted"]["item_latency_ms"]
    assert f"({number(second)} ms\n\N{MINUS SIGN}{100 * gain:.0f} %)" in texts(axes)


def test_texts_do_not_overlap(figure: Any) -> None:
    of_images = drawn(group(images(), [(128, 128), (256, 256)], k_max=4), laid_out=True)
    for picture in (figure, of_images):
        axes = panel(picture, BY_K)
        boxes = [text.get_window_extent() for text in (*axes.texts, *axes.get_xticklabels()) if text.get_text()]
        assert not [(a, b) for n, a in enumerate(boxes) for b in boxes[:n] if a.overlaps(b)]
        edge = picture.get_window_extent().x1
        for each in picture.axes:
            assert each.get_legend().get_window_extent().x1 <= edge
        assert all(text.get_window_extent().x1 <= edge for text in picture.texts)


def test_p99_is_drawn_where_it_is_minimised(found: Json) -> None:
    axes = panel(drawn({**found, "minimise": "p99"}), BY_K)
    best = [each for each in found["rows"] if each["best_for_k"]]
    assert list(axes.lines[0].get_ydata()) == [each["predicted"]["item_latency_ms_p99"] for each in best]
    assert "p99 of a request" in axes.get_title(loc="left")


def test_images_are_dots_in_rectangles_and_numbers_of_elements() -> None:
    given = group(images(), [(128, 128), (192, 192), (256, 256), (320, 320)], k_max=4)
    figure = drawn(given)
    view = View(parsed(given))
    axes = figure.axes[0]
    assert axes.get_title(loc="left").startswith("How large")
    outlines = [(patch.get_height(), patch.get_width()) for patch in axes.patches if not patch.get_fill()]
    assert outlines == view.shapes
    assert sum(len(dots.get_offsets()) for dots in axes.collections) == len(view.sizes)
    assert panel(figure, BY_SIZE).get_xlabel() == "elements of an item, height x width"
    assert panel(figure, PADDING).get_xlim()[1] > view.elements[-1]


def test_very_skewed_sizes_have_a_logarithmic_axis() -> None:
    skewed = np.append(np.random.default_rng(0).integers(5, 40, 500), 8192)
    figure = drawn(group(skewed, [(16,), (64,), (8192,)], k_max=12))
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log", "log", "linear"]
    assert panel(figure, BY_K).get_yscale() == "log"
    bars = panel(figure, LENGTHS).patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(100)


def test_declared_lists_are_drawn_as_asked_for(found: Json) -> None:
    lists = asked(found)
    lists["rows"] = [{**each, "best_for_k": False} for each in lists["rows"]]
    axes = panel(drawn(lists), "What the lists take")
    assert "asked for, measured" in legend(axes)
    assert not [text for text in legend(axes) if "predicted" in text]
    measured = [each["measured"]["item_latency_ms_mean"] for each in lists["rows"] if each["k"]]
    assert sorted(texts(axes)) == sorted(f"{number(value)} ms" for value in measured)


@pytest.mark.parametrize(
    ("titles", "change"),
    [
        ([LENGTHS, PADDING, BY_SIZE, BY_K], lambda g: with_rows(g, [unmeasured(r) for r in g["rows"]])),
        ([LENGTHS, BY_SIZE], lambda g: with_rows(g, [row(g, "dynamic")], curve=[])),
        ([LENGTHS, PADDING, BY_SIZE], lambda g: with_rows(g, g["rows"][:1])),
        ([LENGTHS, PADDING, BY_SIZE, BY_K], lambda g: with_rows(g, [g["rows"][0], row(g, "dynamic")])),
        ([LENGTHS, PADDING], lambda g: with_rows(g, [unmeasured(g["rows"][0])], curve=[])),
        ([BY_SIZE, BY_K], lambda g: {**g, "traffic": None}),
    ],
    ids=["nothing measured", "only dynamic", "one bucket", "one bucket and dynamic", "only a list", "no traffic"],
)
def test_unknown_panels_are_left_out(found: Json, titles: list[str], change: Any) -> None:
    figure = drawn(change(found))
    assert len(figure.axes) == len(titles)
    assert all(title.startswith(begin) for title, begin in zip(panels(figure), titles, strict=True))


def test_single_length_is_drawn() -> None:
    figure = drawn(group(np.full(50, 128), [(64,), (128,)]))
    assert "50 items of snippets · length: 128 " in heading(figure)
    assert legend(panel(figure, LENGTHS)) == ["128:  100 %"]
    assert legend(panel(figure, PADDING)) == ["padding 0 %", "needed 100 %"]


@pytest.mark.parametrize("rows", [[], [{"buckets": "dynamic", "name": "dynamic", "k": None, "measured": None}]])
def test_empty_group_has_no_picture(found: Json, rows: list[Json]) -> None:
    assert drawn(with_rows(found, rows)) is None


def test_failed_list_is_crossed_out_and_never_the_best(found: Json) -> None:
    quickest = View(parsed(found)).drawn
    assert quickest is not None
    (first,) = (each for each in found["rows"] if each["key"] == quickest.key)
    lost = {**first, "status": "rejected", "measured": None}
    given = with_rows(found, [lost if each is first else each for each in found["rows"]])
    axes = panel(drawn(given), BY_K)
    assert "rejected" in texts(axes)
    (cross,) = (line for line in axes.lines if line.get_marker() == "x")
    assert cross.get_xdata()[0] == quickest.k
    assert View(parsed(given)).drawn != from_json(ListRow, lost)
    stopped = {**lost, "status": "stopped"}
    given = with_rows(found, [stopped if each is first else each for each in found["rows"]])
    assert not [line for line in panel(drawn(given), BY_K).lines if line.get_marker() == "x"]


def test_list_over_a_limit_is_marked_and_never_the_best(found: Json) -> None:
    quickest = View(parsed(found)).drawn
    assert quickest is not None
    limit = "needs 9 MB of memory, the limit is 8"
    over = [{**each, "over": limit} if each["key"] == quickest.key else each for each in found["rows"]]
    given = with_rows(found, over)
    assert "over a limit" in texts(panel(drawn(given), BY_K))
    assert View(parsed(given)).shapes != View(parsed(found)).shapes


def test_measurement_of_another_mix_is_not_compared(found: Json) -> None:
    rows = [
        {**each, "measured": {**each["measured"], "weights": "window"}} if each["measured"] else each
        for each in found["rows"]
    ]
    given = with_rows(found, rows, traffic={**found["traffic"], "own": False})
    assert "not measured" in heading(drawn(given))


def test_sizes_outside_all_buckets_are_counted() -> None:
    given = asked(group(lengths(), k_max=2))
    given["traffic"]["sizes"].append([500])
    given["traffic"]["weights"].append(300)
    assert legend(panel(drawn(given), LENGTHS))[-1] == "in no bucket:  20 %"


def test_far_tail_does_not_flatten_the_rest(found: Json) -> None:
    given = json.loads(json.dumps(found))
    best = View(parsed(given)).drawn
    assert best is not None
    (first,) = (each for each in given["rows"] if each["key"] == best.key)
    first["measured"]["buckets"][-1]["latency_ms"]["p99"] = 900.0
    first["measured"]["latency_ms_p99"] = 900.0
    figure = drawn(given)
    for title in (BY_SIZE, BY_K):
        assert panel(figure, title).get_ylim()[1] < 100
        assert "p99 900" in texts(panel(figure, title))


def test_many_buckets_are_summarised() -> None:
    given = group(np.arange(1, 201), k_max=24)
    told = legend(panel(drawn(given), LENGTHS))
    assert len(told) == 9
    assert "more:" in told[-1]


def test_sweep_writes_one_safely_named_file_per_group(small: Json, tmp_path: Path) -> None:
    labels = ["a/b c", "a/b c", "x" * 300]
    (tmp_path / "buckets.json").write_text(json.dumps([{**small, "label": label} for label in labels]))
    paths = summary.write(tmp_path, make_settings(tmp_path), [], [], make_verdict([]))
    pictures = [path for path in paths if path.suffix == ".png"]
    assert [path.name for path in pictures][:2] == ["buckets-a_b_c-1.png", "buckets-a_b_c-2.png"]
    assert len(pictures) == 3
    assert all(size(path)[0] == 1300 for path in pictures)
    assert tmp_path / "buckets.json" in paths
    assert set(pictures) <= set(SweepFolder(tmp_path).left())


def test_sweep_without_lists_has_no_picture(tmp_path: Path) -> None:
    assert bucket_plots.write(tmp_path) == []


@pytest.fixture
def stored_lists(small: Json, tmp_path: Path) -> Path:
    """A sweep of three trials, two of which have lists of buckets."""
    members = [Member({"batch": batch}) for batch in (1, 5, 8)]
    folder = store_sweep(tmp_path, "20260101-000000", members)
    from sweep.store import ledger

    keys = list(ledger.History(folder).records)
    groups = [
        {**with_rows(small, [{**small["rows"][0], "key": key}]), "label": f"list-b{batch}"}
        for key, batch in zip(keys[:2], (1, 5), strict=True)
    ]
    (folder / "buckets.json").write_text(json.dumps(groups))
    return tmp_path


def test_verb_draws_the_requested_groups(
    stored_lists: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stored_lists)
    where = f"--outputs={stored_lists}"
    assert run(["plot", "buckets", where]) == 0
    assert capsys.readouterr().out.split() == [
        f"sweeps/20260101-000000/plots/buckets-list-b{batch}.png" for batch in (1, 5)
    ]
    assert run(["plot", "buckets", "last", "batch=5", where, "--output=five.svg"]) == 0
    assert capsys.readouterr().out.split() == ["five.svg"]
    assert b"<svg" in (stored_lists / "five.svg").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--output=one.png"], "these are 2: list-b1, list-b5; say which, like batch=1"),
        (["batch=8"], "no list of buckets was measured for these trials of 20260101-000000"),
        (["batch=1", "--output=one.gif2"], "end it in .png, .svg or .pdf"),
    ],
)
def test_impossible_picture_is_one_line_of_error(
    stored_lists: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert run(["plot", "buckets", f"--outputs={stored_lists}", *words]) == 1
    assert told in one_error(capsys.readouterr())
