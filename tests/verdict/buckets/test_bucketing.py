import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweep.spec import UserError
from sweep.verdict.buckets import bucketing
from sweep.verdict.buckets import search as bucket_search
from sweep.verdict.buckets.bucketing import solve
from sweep.verdict.buckets.cost import Choice, Curve, Point, evaluate, powers_of_two, serve, waste
from sweep.verdict.buckets.traffic import Traffic
from sweep.worker.batching import route

# The first call imports scipy, which a deadline would count.

counts = st.one_of(st.integers(0, 5), st.floats(0.01, 100.0))
histograms = st.dictionaries(st.integers(1, 40), counts, min_size=1, max_size=7).filter(lambda h: sum(h.values()) > 0)
seconds = st.one_of(st.sampled_from([1.0, 2.0, 3.0]), st.floats(0.001, 10.0))  # ties are likely
amounts = st.integers(1, 20).map(float)
ks = st.integers(1, 5)


def traffic_of(histogram: dict[int, float]) -> Traffic:
    return Traffic.of(list(histogram), list(histogram.values()))


@st.composite
def curves(draw: st.DrawFn, rising: bool = False) -> Curve:
    """One to five measured shapes; seconds that rise with the size or that do not, memory and builds in any order."""
    sizes = draw(st.lists(st.integers(1, 45), min_size=1, max_size=4, unique=True))
    values = [draw(seconds) for _ in sizes]
    if rising:
        sizes, values = sorted(sizes), sorted(values)
    points = zip(sizes, values, strict=True)
    return Curve([Point((s,), v, draw(amounts), draw(amounts)) for s, v in points], batch=draw(st.sampled_from([1, 8])))


def sizes_of(choice: Choice) -> list[int]:
    return [bucket[0] for bucket in choice.buckets]


def table(traffic: Traffic, cost: Curve, *more: int) -> dict[int, Point]:
    """What each size that is looked at costs: all that occur, all that were measured, and more."""
    whole = {*traffic.sizes[:, 0].tolist(), *(point.size[0] for point in cost.points), *more}
    return {size: cost.at(size) for size in sorted(whole)}


def by_hand(
    traffic: Traffic, batch: int, buckets: Sequence[int], costs: dict[int, Point]
) -> tuple[float, float, float]:
    """Seconds per item, p99 of a request and waste, by giving every size to the smallest bucket that fits."""
    weights = (traffic.weights / traffic.weights.sum()).tolist()
    sizes = traffic.sizes[:, 0].tolist()
    chosen = [min(bucket for bucket in buckets if bucket >= size) for size in sizes]
    taken = [costs[bucket].seconds for bucket in chosen]
    pairs = list(zip(weights, taken, strict=True))
    p99 = min(limit for limit in taken if sum(w for w, t in pairs if t <= limit) >= 0.99 - 1e-12)
    held, filled = (sum(w * s for w, s in zip(weights, each, strict=True)) for each in (chosen, sizes))
    return sum(w * t for w, t in pairs) / batch, p99, 1 - filled / held


Fits = Callable[[tuple[int, ...]], bool]


def brute_force(
    traffic: Traffic, cost: Curve, k: int, fits: Fits, costs: dict[int, Point]
) -> list[tuple[float, float, float] | None]:
    """For 1, 2, ... k: over all lists of at most so many that cover everything, the lowest cost and the lowest
    (p99, cost); None where no list fits."""
    rated: list[tuple[float, float]] = []
    found: list[tuple[float, float, float] | None] = []
    for count in range(1, k + 1):
        for buckets in itertools.combinations(costs, count):
            if buckets[-1] >= traffic.largest[0] and fits(buckets):
                mean, p99, _ = by_hand(traffic, cost.batch, buckets, costs)
                rated.append((p99, mean))
        found.append((min(mean for _, mean in rated), *min(rated)) if rated else None)
    return found


def unlimited(_: tuple[int, ...]) -> bool:
    return True


def best_of(choices: tuple[Choice, ...], k: int) -> Choice:
    return [choice for choice in choices if choice.k <= k][-1]


@settings(max_examples=30)
@given(histograms, curves(), ks)
def test_solve_equals_brute_force_over_sizes_and_measured_shapes(
    histogram: dict[int, float], cost: Curve, k_max: int
) -> None:
    traffic = traffic_of(histogram)
    choices = solve(traffic, cost, k_max)
    for k, expected in enumerate(brute_force(traffic, cost, k_max, unlimited, table(traffic, cost)), start=1):
        assert expected
        assert best_of(choices, k).expected_seconds == pytest.approx(expected[0], rel=1e-9)
    assert all(choice.exact for choice in choices)


@settings(max_examples=30)
@given(st.dictionaries(st.integers(1, 11), st.integers(1, 5), min_size=1, max_size=5), curves())
def test_no_other_size_is_better_than_the_candidates(histogram: dict[int, float], cost: Curve) -> None:
    """Any whole number may be a bucket, also none of the sizes: the curve may fall between two of them."""
    traffic = traffic_of(histogram)
    above = max(traffic.largest[0], *(point.size[0] for point in cost.points)) + 2
    expected = brute_force(traffic, cost, 2, unlimited, table(traffic, cost, *range(1, above)))[-1]
    assert expected
    assert best_of(solve(traffic, cost, 2), 2).expected_seconds == pytest.approx(expected[0], rel=1e-9)


@settings(max_examples=40)
@given(histograms, curves(), ks, st.floats(0.3, 4.0), st.floats(0.3, 4.0), st.sampled_from(["memory", "build", "both"]))
def test_solve_equals_brute_force_under_limits(
    histogram: dict[int, float], cost: Curve, k_max: int, memory: float, build: float, kind: str
) -> None:
    traffic = traffic_of(histogram)
    costs = table(traffic, cost)
    top = costs[traffic.largest[0]]
    memory_mb = memory * (top.memory_mb or 0) if kind != "build" else None
    build_seconds = build * (top.build_seconds or 0) if kind != "memory" else None

    def fits(buckets: tuple[int, ...]) -> bool:
        points = [costs[bucket] for bucket in buckets]
        return all(
            limit is None or sum(getattr(point, name) for point in points) <= limit * (1 + 1e-12)
            for name, limit in (("memory_mb", memory_mb), ("build_seconds", build_seconds))
        )

    by_k = brute_force(traffic, cost, k_max, fits, costs)
    if by_k[0] is None:
        with pytest.raises(UserError, match="no list of buckets fits"):
            solve(traffic, cost, k_max, memory_mb=memory_mb, build_seconds=build_seconds)
        return
    choices = solve(traffic, cost, k_max, memory_mb=memory_mb, build_seconds=build_seconds)
    for k, expected in enumerate(by_k, start=1):
        assert expected
        assert best_of(choices, k).expected_seconds == pytest.approx(expected[0], rel=1e-9)
    assert all(choice.exact and fits(tuple(sizes_of(choice))) for choice in choices)


@settings(max_examples=30)
@given(histograms, curves(), ks, st.one_of(st.none(), st.floats(1.0, 4.0)))
def test_solve_for_p99_equals_brute_force(
    histogram: dict[int, float], cost: Curve, k_max: int, memory: float | None
) -> None:
    traffic = traffic_of(histogram)
    costs = table(traffic, cost)
    memory_mb = None if memory is None else memory * (costs[traffic.largest[0]].memory_mb or 0)

    def fits(buckets: tuple[int, ...]) -> bool:
        used = sum(costs[bucket].memory_mb or 0 for bucket in buckets)
        return memory_mb is None or used <= memory_mb * (1 + 1e-12)

    by_k = brute_force(traffic, cost, k_max, fits, costs)
    assume(by_k[0] is not None)
    choices = solve(traffic, cost, k_max, memory_mb=memory_mb, objective="p99")
    for k, expected in enumerate(by_k, start=1):
        assert expected
        best = best_of(choices, k)
        assert best.exact
        assert (best.p99_seconds, best.expected_seconds) == pytest.approx(expected[1:], rel=1e-9)


@given(histograms, curves(), ks)
def test_choices_keep_their_promises(histogram: dict[int, float], cost: Curve, k_max: int) -> None:
    traffic = traffic_of(histogram)
    choices, costs = solve(traffic, cost, k_max), table(traffic, cost)
    assert choices[0].k == 1
    assert all(a.expected_seconds > b.expected_seconds and a.k < b.k for a, b in itertools.pairwise(choices))
    for choice in choices:
        sizes = sizes_of(choice)
        assert sizes == sorted(set(sizes))
        assert sizes[-1] >= traffic.largest[0]
        assert choice.k == len(sizes) <= k_max
        assert sum(choice.shares) == pytest.approx(1)
        assert min(choice.shares) > 0
        mean, p99, padding = by_hand(traffic, cost.batch, sizes, costs)
        assert (choice.expected_seconds, choice.p99_seconds) == pytest.approx((mean, p99))
        assert choice.waste == pytest.approx(padding, abs=1e-12) == waste(traffic, sizes)
        assert choice.memory_mb == pytest.approx(sum(costs[size].memory_mb or 0 for size in sizes))
        assert choice.build_seconds == pytest.approx(sum(costs[size].build_seconds or 0 for size in sizes))


@given(histograms, curves(rising=True))
def test_buckets_are_sizes_that_occur_where_the_curve_rises(histogram: dict[int, float], cost: Curve) -> None:
    traffic = traffic_of(histogram)
    level = {point.seconds for point in cost.points}
    assume(len(level) == len(cost.points))
    for choice in solve(traffic, cost, 4):
        if sizes_of(choice)[-1] <= traffic.largest[0]:
            assert set(sizes_of(choice)) <= set(traffic.sizes[:, 0].tolist()) | {p.size[0] for p in cost.points}


@given(histograms, curves(), ks)
def test_solve_is_never_worse_than_powers_of_two(histogram: dict[int, float], cost: Curve, k_max: int) -> None:
    traffic = traffic_of(histogram)
    choices = solve(traffic, cost, k_max)
    guess = powers_of_two(traffic.largest)[-k_max:]
    assert choices[-1].expected_seconds <= evaluate(traffic, cost, guess).expected_seconds * (1 + 1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.booleans())
def test_best_lists_equal_brute_force(seed: int, k: int, fees: bool) -> None:
    """The programme itself, also with fees for each bucket, where costs rise with the size or do not."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(k, 11))
    weight, cost, fee = np.cumsum(rng.integers(0, 5, n)) + 1.0, rng.random(n), rng.random(n) * 10 * fees
    lists = list(bucket_search.best_lists(weight, cost, k, fee))
    assert [len(key) for key in lists] == list(range(1, k + 1))

    def value(key: tuple[int, ...]) -> float:
        numbers = list(key)
        return float(np.diff(weight[numbers], prepend=0.0) @ cost[numbers] + fee[numbers].sum())

    for count, key in enumerate(lists, start=1):
        whole = [some for some in itertools.combinations(range(n), count) if weight[some[-1]] == weight[-1]]
        assert value(key) == pytest.approx(min(map(value, whole)))


@pytest.mark.parametrize("both", [False, True], ids=["memory", "memory and build"])
def test_lists_under_limits_come_near_the_best(both: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what an exchange reaches beside what looking at every list does."""
    rng = np.random.default_rng(3)
    losses = []
    for _ in range(20):
        sizes = range(15, 241, 15)
        seconds = {s: 1e-3 + 1e-5 * s * (1 + 0.3 * rng.random()) for s in sizes}
        points = [Point((s,), seconds[s], rng.uniform(100, 200), rng.uniform(10, 20)) for s in sizes]
        traffic = Traffic.of(np.array(sizes), rng.integers(1, 100, 16))
        memory_mb, build_seconds = rng.uniform(400, 650), rng.uniform(40, 65) if both else None
        best = solve(traffic, Curve(points), 4, memory_mb=memory_mb, build_seconds=build_seconds)
        assert all(choice.exact for choice in best)
        with monkeypatch.context() as patch:
            patch.setattr(bucket_search, "WHOLE", 16)  # k = 1
            near = solve(traffic, Curve(points), 4, memory_mb=memory_mb, build_seconds=build_seconds)
        losses.append(near[-1].expected_seconds / best[-1].expected_seconds - 1)
    assert min(losses) >= -1e-9
    assert np.mean(losses) < 0.005
    assert max(losses) < 0.05


def test_slower_shapes_are_used_where_only_they_fit() -> None:
    """The level curve needs one bucket, but the one that is fastest takes too much; then two others are best."""
    points = [Point((1,), 1.0, 1.0), Point((2,), 2.0, 1.0), Point((3,), 1.0, 50.0), Point((4,), 1.0, 50.0)]
    cost = Curve([*points, Point((5,), 2.0, 1.0)])
    choices = solve(Traffic.of([1, 2]), cost, 3, memory_mb=2)
    assert [choice.buckets for choice in choices] == [((2,),), ((1,), (2,))]
    assert [choice.exact for choice in choices] == [True, True]


def test_lists_of_many_candidates_keep_limits_and_are_not_called_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    traffic = Traffic.of(np.arange(1, 301), rng.integers(1, 100, 300))
    cost = Curve([Point((s,), 1e-3 + 1e-5 * s, float(rng.integers(100, 200))) for s in range(1, 311, 10)])
    best = 0.002794334  # the least seconds of five buckets, found once by an exact search over all candidates
    for candidates, loss in ((bucketing.LIMITED, 0.005), (40, 0.05)):
        with monkeypatch.context() as patch:
            patch.setattr(bucketing, "LIMITED", candidates)
            choices = solve(traffic, cost, 5, memory_mb=640)
        assert not choices[-1].exact
        assert all((choice.memory_mb or 0) <= 640 * (1 + 1e-12) for choice in choices)
        assert -1e-6 < choices[-1].expected_seconds / best - 1 < loss


def test_solve_takes_many_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20,000 sizes the candidates are thinned out, which costs next to nothing."""
    rng = np.random.default_rng(0)
    traffic = Traffic.of(np.arange(1, 20_001), rng.integers(1, 100, 20_000))
    cost = Curve([Point((s,), 1e-3 + 1e-6 * s) for s in (100, 20_000)])
    choices = solve(traffic, cost, 8)
    assert [choice.k for choice in choices] == list(range(1, 9))
    assert [choice.exact for choice in choices] == [False] * 8
    even = evaluate(traffic, cost, list(range(2_500, 20_001, 2_500)))
    assert choices[-1].expected_seconds <= even.expected_seconds
    assert choices[-1].expected_seconds == pytest.approx(even.expected_seconds, rel=0.01)  # the traffic is about level
    few = Traffic.of(np.arange(1, 601), rng.integers(1, 100, 600))
    best = solve(few, cost, 8)
    monkeypatch.setattr(bucketing, "FREE", 150)
    assert solve(few, cost, 8)[-1].expected_seconds == pytest.approx(best[-1].expected_seconds, rel=1e-3)
    assert best[-1].exact


def test_one_size_gives_one_bucket() -> None:
    (choice,) = solve(Traffic.of([7, 7, 7]), Curve([Point((7,), 0.5)], batch=4), 6)
    assert (choice.buckets, choice.expected_seconds, choice.p99_seconds, choice.waste) == (((7,),), 0.125, 0.5, 0.0)
    assert (choice.memory_mb, choice.build_seconds) == (None, None)


def test_a_level_curve_needs_one_bucket() -> None:
    (choice,) = solve(Traffic.of([10, 20, 30]), Curve([Point((10,), 0.5), Point((30,), 0.5)]), 3)
    assert choice.buckets == ((30,),)


def test_a_cheaper_larger_shape_is_taken() -> None:
    cost = Curve([Point((10,), 1.0), Point((100,), 4.0), Point((128,), 3.0)])
    choices = solve(Traffic.of([10, 100]), cost, 2)
    assert [choice.buckets for choice in choices] == [((128,),), ((10,), (128,))]


# The cost curve


@given(curves(rising=True), st.lists(st.integers(1, 100), min_size=2, max_size=20))
def test_a_curve_rises_where_its_points_rise_and_goes_through_them(cost: Curve, sizes: list[int]) -> None:
    at = np.sort(np.array(sizes, dtype=float))
    values = cost.values("seconds", at)
    assert (np.diff(values) >= -1e-12).all()
    assert (values > 0).all()
    for point in cost.points:
        assert cost.at(point.size).seconds == pytest.approx(point.seconds)


@given(curves(), st.integers(1, 45))
def test_a_curve_stays_between_the_points_beside_it(cost: Curve, size: int) -> None:
    below = [point for point in cost.points if point.size[0] <= size]
    above = [point for point in cost.points if point.size[0] >= size]
    value = cost.at(size).seconds
    if below and above:
        ends = (below[-1].seconds, above[0].seconds)
        assert min(ends) * (1 - 1e-9) <= value <= max(ends) * (1 + 1e-9)
    elif above and len(cost.points) > 1:
        assert above[0].seconds * size / above[0].size[0] * (1 - 1e-9) <= value <= above[0].seconds * (1 + 1e-9)
    elif len(cost.points) > 1:
        assert value >= below[-1].seconds * (1 - 1e-9)


def test_curve_knows_what_was_not_measured() -> None:
    cost = Curve([Point((10,), 1.0, None, 3.0), Point((20,), 2.0), Point((20,), 4.0), Point((30,), 5.0, None, 5.0)])
    assert cost.at(20) == Point((20,), 3.0, None, 4.0)  # equal sizes are averaged
    assert cost.at(40).seconds == pytest.approx(7.0)
    assert Curve([Point((10,), 1.0)]).at((5,)).seconds == 0.5
    with pytest.raises(UserError, match="limit of memory_mb needs"):
        solve(Traffic.of([1]), cost, 1, memory_mb=5)


@pytest.mark.parametrize(
    "points",
    [[], [Point((0,), 1.0)], [Point((), 1.0)], [Point((1,), 0.0)], [Point((1,), math.nan)], [Point((1,), 1.0, -1.0)]],
)
def test_curve_refuses_impossible_points(points: list[Point]) -> None:
    with pytest.raises(UserError):
        Curve(points)


# Baselines, routing, waste


def test_powers_of_two() -> None:
    assert powers_of_two((5,)) == ((1,), (2,), (4,), (8,))
    assert powers_of_two((8,)) == ((1,), (2,), (4,), (8,))
    assert powers_of_two((1,)) == ((1,),)
    assert powers_of_two((100, 40))[-2:] == ((64, 32), (128, 64))


def test_waste_is_padding_as_share_of_all_elements() -> None:
    traffic = Traffic.of([1, 3, 4], [2, 1, 1])
    assert waste(traffic, [4]) == pytest.approx(1 - 9 / 16)
    assert waste(traffic, [1, 4]) == pytest.approx(1 - 9 / 10)
    assert waste(Traffic.of([[2, 3], [4, 4]]), [(4, 4)]) == pytest.approx(1 - 22 / 32)


def test_solve_refuses_sizes_that_no_bucket_fits() -> None:
    traffic = Traffic.of([10, 200])
    with pytest.raises(UserError, match=r"fits size \[200\]: add \[200\]"):
        serve(traffic, [10, 100])
    with pytest.raises(UserError, match="alone needs 200 MB of memory, the limit is 90"):
        solve(traffic, Curve([Point((10,), 1.0, 10.0)]), 2, memory_mb=90)


@pytest.mark.parametrize("wrong", [{"k_max": 0}, {"objective": "p50"}, {"memory_mb": 0}, {"memory_mb": math.nan}])
def test_solve_refuses_impossible_options(wrong: dict[str, object]) -> None:
    options = {"k_max": 2, **wrong}
    with pytest.raises(UserError):
        solve(Traffic.of([1, 2]), Curve([Point((1,), 1.0, 1.0)]), **options)  # type: ignore[arg-type]  # wrong on purpose


# Several dimensions


shapes = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=8)


@settings(max_examples=30)
@given(shapes, st.integers(1, 3))
def test_lists_of_few_heights_and_widths_equal_brute_force(sizes: list[tuple[int, int]], k_max: int) -> None:
    traffic = Traffic.of(sizes)
    cost = Curve([Point((1, 1), 1.0), Point((4, 4), 13.0)])
    choices = solve(traffic, cost, k_max)
    grid = list(itertools.product(sorted({h for h, _ in sizes}), sorted({w for _, w in sizes})))
    costs = {shape: cost.at(shape).seconds for shape in grid}
    best = math.inf
    for count in range(1, k_max + 1):
        for buckets in itertools.combinations(grid, count):
            chosen = route(np.array(sizes), buckets)
            if chosen.min() >= 0:
                best = min(best, sum(costs[buckets[number]] for number in chosen) / len(sizes))
        assert best_of(choices, count).expected_seconds == pytest.approx(best)
    assert all(choice.exact for choice in choices)


def test_many_heights_and_widths_are_searched_by_exchange() -> None:
    rng = np.random.default_rng(2)
    traffic = Traffic.of(rng.integers(32, 400, (300, 2)))
    cost = Curve([Point((32, 32), 0.01, 10.0), Point((400, 400), 1.0, 100.0)])
    choices = solve(traffic, cost, 4)
    assert not choices[-1].exact
    assert choices[-1].k == 4
    assert all(a.expected_seconds > b.expected_seconds for a, b in itertools.pairwise(choices))
    guess = evaluate(traffic, cost, [(100, 100), (200, 200), (300, 300), (400, 400)])
    assert choices[-1].expected_seconds < guess.expected_seconds
    limited = solve(traffic, cost, 4, memory_mb=200)
    assert all((choice.memory_mb or 0) <= 200 for choice in limited)
    with pytest.raises(UserError, match="alone needs"):
        solve(traffic, cost, 4, memory_mb=20)


def test_squares_are_solved_like_one_dimension() -> None:
    sides = [128, 224, 300, 664]
    square = solve(
        Traffic.of([(s, s) for s in sides], [5, 4, 2, 1]), Curve([Point((8, 8), 1.0), Point((664, 664), 9.0)]), 3
    )
    line = solve(
        Traffic.of([s * s for s in sides], [5, 4, 2, 1]), Curve([Point((64,), 1.0), Point((664 * 664,), 9.0)]), 3
    )
    assert [[h * w for h, w in choice.buckets] for choice in square] == [sizes_of(choice) for choice in line]
    assert [c.expected_seconds for c in square] == pytest.approx([c.expected_seconds for c in line])


# Traffic


def write(folder: Path, text: str) -> Path:
    path = folder / "traffic.csv"
    path.write_text(text, encoding="utf-8")
    return path


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_traffic_counts_sizes(sizes: list[int]) -> None:
    traffic = Traffic.of(np.array(sizes))
    assert dict(zip(traffic.sizes[:, 0].tolist(), traffic.weights.tolist(), strict=True)) == {
        size: sizes.count(size) for size in sizes
    }
    assert traffic.sizes[:, 0].tolist() == sorted(set(sizes))


def test_histogram_and_trace_of_the_same_items_are_the_same_traffic(tmp_path: Path) -> None:
    histogram = Traffic.read(write(tmp_path, "size,count\n# a comment\n128,2\n\n16,1\n64,0\n"))
    trace = Traffic.read(write(tmp_path, "\ufefftime_s,size\n0.0,128\n0.1,16\n 0.25 , 128 \n"))
    for traffic in (histogram, trace):
        assert traffic.sizes.tolist() == [[16], [128]]
        assert traffic.weights.tolist() == [1.0, 2.0]


def test_a_histogram_of_two_dimensions(tmp_path: Path) -> None:
    traffic = Traffic.read(write(tmp_path, "height,width,count\n224,300,3\n300,224,1.5\n"))
    assert (traffic.largest, traffic.dimensions, traffic.ordered) == ((300, 300), 2, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: the file is empty"),
        ("128,5\n64,3\n", ":1: the columns are 128, 5: the first line names the columns"),
        ("size,number\n1,2\n", "the first line names the columns"),
        ("size\n1\n", "the first line names the columns"),
        ("count\n1\n", "the first line names the columns"),
        ("time_s,size,count\n1,2,3\n", "the first line names the columns"),
        ("size,size,count\n1,2,3\n", "the first line names the columns"),
        ("size,count\n", "no lines behind the header"),
        ("size,count\n64,0\n", "no size with a count above 0"),
        ("size,count\n64,5\n12", ":3: 1 cells where the header has 2: the line is not whole"),
        ("size,count\n64,\n", ":2: count '' is not a number"),
        ("size,count\n64,many\n", ":2: count 'many' is not a number"),
        ("size,count\n64,nan\n", ":2: count 'nan' is not a number"),
        ("size,count\n64,inf\n", ":2: count 'inf' is not a number"),
        ("size,count\n64,-1\n", ":2: count -1 is negative"),
        ("size,count\n-64,1\n", ":2: size '-64' is negative"),
        ("size,count\n0,1\n", ":2: size 0 is not between 1"),
        ("size,count\n12.5,1\n", ":2: size '12.5' is not a whole number"),
        ("size,count\n99999999999,1\n", ":2: size 99999999999 is not between"),
        ("size,count\n5,1e300\n", "more than 2^53"),
        ('size,count\n"64,1\n', "is a quotation mark not closed?"),
        ("time_s,size\nsoon,64\n", ":2: time_s 'soon' is not a number"),
        ("time_s,size\n0.5,64\n0.7\n", ":3: 1 cells"),
        ("size;count\n64;1\n", "the first line names the columns"),
        ("size,count\n6\x004,1\n", "not a text file"),
    ],
)
def test_malformed_traffic_gives_one_line_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        Traffic.read(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_traffic_refuses_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*: No such file"):
        Traffic.read(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"size,count\n\xff\xfe,1\n")
    with pytest.raises(UserError, match="not UTF-8"):
        Traffic.read(tmp_path / "binary.csv")


@given(st.text(alphabet='size,count time_\n0123456789.-"#e;', max_size=80))
def test_any_text_gives_traffic_or_an_error_of_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = write(tmp_path_factory.mktemp("text"), "size,count\n" + text)
    said = ""
    try:
        assert Traffic.read(path).weights.min() > 0
    except UserError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize("sizes", [[], [0], [-3], [1.5], [2**40], [[]], ["12"]])
def test_traffic_refuses_impossible_sizes(sizes: list[object]) -> None:
    with pytest.raises(UserError):
        Traffic.of(sizes)


@pytest.mark.parametrize("counted", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, math.nan], [1.0, math.inf]])
def test_traffic_refuses_impossible_counts(counted: list[float]) -> None:
    with pytest.raises(UserError):
        Traffic.of([1, 2], counted)
