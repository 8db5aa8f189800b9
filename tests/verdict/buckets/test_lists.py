"""Lists beside each other: what is predicted, weighted, limited and said, from records made by hand."""

import io
from dataclasses import replace
from typing import Any

import pytest

from sweep.report.terminal import buckets as bucket_table
from sweep.report.terminal.display import Display
from sweep.spec import DYNAMIC, Record, Status, Trial
from sweep.spec.facts import BucketFacts, SizeFacts
from sweep.spec.settings import Bucketing
from sweep.verdict.buckets import lists as bucket_lists
from sweep.verdict.buckets.lists import Group
from sweep.verdict.buckets.measured import summarize_list
from sweep.verdict.buckets.results import ListGroup, ListResult, ListRow, Movement
from sweep.verdict.buckets.traffic import Traffic

TWO = Bucketing(max=2)
TRAFFIC = Traffic.of([10, 60], [3, 1])
MS = {10: 1.5, 16: 2.0, 32: 4.0, 60: 6.0, 64: 8.0}  # a request of each bucket


def trial(*buckets: int) -> Trial:
    named: Any = {name: {"name": name} for name in ("model", "data", "hardware")}
    lists = tuple((size,) for size in buckets)
    return Trial(**named, backend={"name": "torch"}, precision="fp32", batch=1, cores=1, replicas=1, buckets=lists)


def record(of: Trial, items: dict[int, int], factor: float = 1.0, rate: float = 100.0, **more: float) -> Record:
    """Measured with so many items in each bucket."""
    buckets = tuple(
        replace(BucketFacts((size,), n, n, factor * MS[size], artifact_mb=10.0, build_seconds=size / 10), **more)
        for size, n in items.items()
    )
    total = sum(items.values())
    window = sum(n * factor * MS[size] for size, n in items.items()) / total
    metrics = {"throughput_items_per_s": rate, "item_latency_ms_mean": window, "build_seconds": 1.0}
    return Record(of.key, of.label, of.settings, (), Status.OK, metrics=metrics, buckets=buckets)


def made(pairs: list[tuple[Trial, Record | None]], own: bool = True, **more: Any) -> ListGroup:
    settings = more.pop("settings", Bucketing(max=2))
    trials = tuple(each for each, _ in pairs)
    asked = Group(trials, TRAFFIC, "texts" if own else "mine.csv", own, settings, **more)
    return bucket_lists.compare(asked, {each.key: told for each, told in pairs if told})


POWERS, LARGEST = trial(16, 64), trial(60)
GUESSES = [(POWERS, record(POWERS, {16: 50, 64: 50}, rate=200)), (LARGEST, record(LARGEST, {60: 100}, rate=100))]


def searched(settings: Bucketing = TWO, pairs: Any = GUESSES, seen: Any = None, **more: Any) -> ListGroup:
    """Lists found from `pairs`; `seen`: what is on record of the trials by now."""
    curve = bucket_lists.build_curve([told for _, told in pairs], 1)
    assert curve is not None
    search = bucket_lists.find(TRAFFIC, curve, settings)
    return made(list(seen or pairs), settings=settings, search=search, **more)


def row(group: ListGroup, name: str) -> ListRow:
    (only,) = [row for row in group.rows if row.name == name]
    return only


def result(group: ListGroup, name: str) -> ListResult:
    measured = row(group, name).measured
    assert measured is not None
    return measured


def hope(group: ListGroup, name: str) -> float:
    predicted = row(group, name).predicted
    assert predicted is not None
    return predicted.item_latency_ms


def test_measured_latency_is_weighted_with_the_shares_of_the_traffic() -> None:
    """The window held as many long texts as short ones; the traffic has three short ones for each long one."""
    told = result(searched(), "powers of two")
    assert told.window_item_latency_ms_mean == 5.0
    assert told.item_latency_ms_mean == pytest.approx(0.75 * 2 + 0.25 * 8)
    assert told.weights == "traffic"
    assert hope(searched(), "powers of two") == pytest.approx(3.5)
    assert told.traffic_items_per_s == pytest.approx(200 * 5 / 3.5)


def test_window_mix_stands_if_a_bucket_was_not_hit() -> None:
    only_short = record(POWERS, {16: 100})
    only_short = replace(only_short, buckets=(*only_short.buckets, BucketFacts((64,), 0, 0)))
    told = summarize_list(only_short, POWERS, TRAFFIC, own=True)
    assert told is not None
    assert (told.weights, told.item_latency_ms_mean) == ("window", 2.0)


def test_sizes_that_vary_are_weighted_if_requests_have_one_item() -> None:
    free = replace(trial(), buckets=DYNAMIC)
    sizes = tuple(SizeFacts((size,), 1, 1, size / 10) for size in (10, 60))
    metrics = {"throughput_items_per_s": 100.0, "item_latency_ms_mean": 3.5}
    free = replace(free, buckets=DYNAMIC)
    told = Record(free.key, free.label, free.settings, (), Status.OK, metrics=metrics, sizes=sizes)
    for own, latency, weights in ((True, 3.5, "window"), (False, 0.75 * 1 + 0.25 * 6, "traffic")):
        seen = summarize_list(told, free, TRAFFIC, own)
        assert seen is not None
        assert (seen.item_latency_ms_mean, seen.weights) == (pytest.approx(latency), weights)
    eight = replace(free, batch=8)  # the longest of eight differs from traffic to traffic
    seen = summarize_list(told, eight, TRAFFIC, own=False)
    assert seen is not None
    assert (seen.weights, seen.traffic_items_per_s) == ("window", None)


def test_every_chosen_list_has_a_row_and_guesses_keep_their_names() -> None:
    entry = searched()
    assert [(each.name, each.k, each.best_for_k) for each in entry.rows] == [
        ("pad to max", 1, True),
        ("best", 2, True),
        ("powers of two", 2, False),
    ]
    assert row(entry, "best").buckets == ((10,), (60,))
    assert (row(entry, "best").measured, row(entry, "best").status) == (None, None)


def test_trial_without_buckets_is_the_largest_bucket_alone() -> None:
    whole, metrics = trial(), {"throughput_items_per_s": 50.0, "latency_ms_mean": 6.0}
    told = Record(whole.key, whole.label, whole.settings, (), Status.OK, metrics=metrics)
    entry = made([(whole, told), (POWERS, GUESSES[0][1])])
    assert (row(entry, "pad to max").buckets, row(entry, "pad to max").k) == (((60,),), 1)
    assert result(entry, "pad to max").item_latency_ms_mean == 6.0
    assert hope(entry, "powers of two") == pytest.approx(3.5)  # from two shapes


def test_second_measurement_of_guesses_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """The curve stays as it was; rows are those of the same blocks as the lists that were found."""
    again = (POWERS, record(POWERS, {16: 75, 64: 25}, factor=1.1, rate=180))
    entry = searched(seen=[again, GUESSES[1]], before={POWERS.key: GUESSES[0][1]})
    assert hope(entry, "powers of two") == pytest.approx(3.5)
    seen = result(entry, "powers of two")
    assert seen.item_latency_ms_mean == pytest.approx(3.85)
    assert seen.throughput_items_per_s == 180
    Display(width=100).show(bucket_table.format_short([entry], 100))
    assert "the machine moved by +10.0 % meanwhile" in capsys.readouterr().out


def test_guesses_measured_beside_a_list_check_its_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    """Everything takes half as long again as when the curve was measured."""
    found = trial(10, 60)
    told = record(found, {10: 75, 60: 25}, factor=1.5)
    again = [(each, record(each, {s: 50 for (s,) in each.buckets}, factor=1.5)) for each in (POWERS, LARGEST)]
    before = {each.key: told for each, told in GUESSES}
    entry = searched(seen=[*again, (found, told)], before=before)
    beside = row(entry, "best").beside
    assert beside is not None
    assert beside.item_latency_ms == pytest.approx(1.5 * hope(entry, "best"))
    assert {row(entry, name).beside for name in ("pad to max", "powers of two")} == {None}
    off = (result(entry, "best").item_latency_ms_mean or 0) / beside.item_latency_ms
    Display(width=100).show(bucket_table.format_short([entry], 100))
    shown = " ".join(capsys.readouterr().out.split())
    assert f"from what the guesses took in the same minutes (beside): 10 60 by {100 * (off - 1):+.1f} %" in shown
    half = searched(seen=[*again, (found, told)], before={POWERS.key: GUESSES[0][1]})
    assert row(half, "best").beside is None  # nothing to say where not all guesses were measured again


def test_lists_keep_a_limit_and_the_table_shows_what_it_leaves_out() -> None:
    entry = searched(Bucketing(max=2, memory_mb=15))  # a build takes 10 MB
    assert [each.k for each in entry.rows if each.best_for_k] == [1]
    beyond = row(entry, "best")
    assert beyond.over == "needs 20 MB of memory, the limit is 15"
    assert row(entry, "powers of two").over == beyond.over
    best = bucket_table.find_best(entry)
    assert best is not None
    assert best.name == "pad to max"  # the only one within the limit
    shown = io.StringIO()
    Display(stream=shown, width=120).show(bucket_table.format_groups([entry], 120))
    assert "beyond the limit: 10 60, 2.59 ms: needs 20 MB of memory, the limit is 15" in shown.getvalue()


def test_memory_is_what_loading_added_if_known_for_all_builds() -> None:
    loaded = [record(POWERS, {16: 1, 64: 1}, memory_mb=30.0), record(LARGEST, {60: 1}, memory_mb=50.0)]
    curve = bucket_lists.build_curve(loaded, 1)
    assert curve is not None
    assert [point.memory_mb for point in curve.points] == [30, 50, 30]
    three = trial(16, 32, 64)
    curve = bucket_lists.build_curve([record(three, {16: 1, 32: 1, 64: 1}, memory_mb=30.0)], 1)
    assert curve is not None
    assert [point.memory_mb for point in curve.points] == [None, 30, 30]  # the first of a process brings the runtime
    curve = bucket_lists.build_curve([loaded[0], record(LARGEST, {60: 1})], 1)
    assert curve is not None
    assert [point.memory_mb for point in curve.points] == [10, 10, 10]
    entry = searched(Bucketing(max=2, memory_mb=70), [(POWERS, loaded[0]), (LARGEST, loaded[1])])
    over = {str(each.buckets): each.over for each in entry.rows}
    assert over["((10,), (60,))"].startswith("needs 77.")  # 50 MB and what the line below 16 says
    assert [each.buckets for each in entry.rows if each.best_for_k] == [((60,),), ((10,), (64,))]


def test_the_control_says_how_far_the_machine_moved() -> None:
    again = (POWERS, record(POWERS, {16: 70, 64: 30}, factor=1.1))  # another mix: it does not count
    assert searched(seen=[again, GUESSES[1]], before={POWERS.key: GUESSES[0][1]}).control == Movement(
        ((16,), (64,)), pytest.approx(3.5), pytest.approx(3.85), moved=pytest.approx(0.1)
    )


@pytest.mark.parametrize(
    ("lists", "largest", "dynamic", "words"),
    [
        (200, 100, None, "Static buckets pay here: 16 64 does 200 items/s, 2.00x pad to maximum (100)."),
        (200, 100, 160, "Static buckets pay here: 16 64 does 200 items/s, 2.00x pad to maximum (100) and 1.25x dyn"),
        (200, 100, 250, "Static buckets do not pay here, dynamic sizes do more: 16 64 does 200 items/s, 2.00x"),
        (200, 199, None, "Static buckets gain nothing over pad to maximum here: 16 64 does 200 items/s, 1.01x"),
    ],
)
def test_sentence_says_whether_buckets_pay(lists: int, largest: int, dynamic: int | None, words: str) -> None:
    free = replace(trial(), buckets=DYNAMIC)
    pairs: Any = [(POWERS, record(POWERS, {16: 75, 64: 25}, rate=lists))]
    pairs += [(LARGEST, record(LARGEST, {60: 100}, rate=largest))]
    if dynamic:
        pairs += [(free, replace(record(LARGEST, {60: 1}, rate=dynamic), key=free.key))]
    assert bucket_table.describe_gain(made(pairs)).startswith(words)
