import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.spec import Measurement, Origin, Record, Status, from_json, to_json
from sweep.spec.settings import Objective
from sweep.verdict import claims
from tests.support import latency_laws as laws

LIMIT = Objective("max_throughput", "throughput_items_per_s", True, latency_ms_p99_max=2.0)


def singly(n: int, late: int) -> np.ndarray:
    """n latencies of 1 ms; so many of 9 ms, evenly spread."""
    values = np.ones(n)
    if late:
        values[np.arange(late) * (n // late) + n // late // 2] = 9.0
    return values


@pytest.mark.parametrize(("n", "verdict"), [(458, "unproved"), (459, "proved")])
def test_proof_takes_459_requests_without_a_late_one(n: int, verdict: str) -> None:
    # 0.99 ** 459 < 0.01: the smallest number, by hand
    found = claims.judge_latency([singly(n, 0)], 2.0)
    assert (found.verdict, found.late, found.n, found.effective_n, found.low) == (verdict, 0, n, n, 0.0)
    assert found.high == pytest.approx(1 - 0.01 ** (1 / n))
    assert found.more == (1 if n == 458 else 0)


@settings(max_examples=60)
@given(st.integers(1, 3000), st.floats(0.0, 1.0), st.floats(0.5, 0.999))
def test_bounds_are_those_of_clopper_and_pearson(n: int, share: float, confidence: float) -> None:
    late = round(share * n)
    low, high = claims.share_bounds(late, n, confidence)
    for side, bound in (("greater", low), ("less", high)):
        exact = scipy.stats.binomtest(late, n, alternative=side).proportion_ci(confidence, method="exact")
        assert bound == pytest.approx(exact.low if side == "greater" else exact.high, abs=1e-9)
    assert 0 <= low <= late / n <= high <= 1


def test_proved_refuted_and_what_would_settle_the_rest() -> None:
    assert claims.judge_latency([singly(4000, 20)], 2.0).verdict == "proved"
    assert claims.judge_latency([singly(4000, 80)], 2.0).verdict == "refuted"
    few = claims.judge_latency([singly(400, 2)], 2.0)
    assert few.verdict == "unproved"
    assert few.more
    total = 400 + few.more
    assert claims.share_bounds(0.005 * total, total, 0.99)[1] <= 0.01
    assert claims.share_bounds(0.005 * (total - 1), total - 1, 0.99)[1] > 0.01
    at_the_limit = claims.judge_latency([singly(4000, 40)], 2.0)
    assert (at_the_limit.verdict, at_the_limit.more) == ("unproved", None)


def test_a_median_is_a_claim_too() -> None:
    assert claims.judge_latency([np.array([1.0, 3.0] * 400)], 2.0, quantile=0.5).verdict == "unproved"
    assert claims.judge_latency([np.array([1.0, 1.0, 3.0] * 200)], 2.0, quantile=0.5).verdict == "proved"
    assert claims.judge_latency([np.array([1.0, 3.0, 3.0] * 200)], 2.0, quantile=0.5).verdict == "refuted"


def test_nothing_measured_proves_nothing() -> None:
    for empty in ([], [np.empty(0)]):
        found = claims.judge_latency(empty, 2.0)
        assert (found.verdict, found.n, found.low, found.high, found.more) == ("unproved", 0, 0.0, 1.0, 459)


def test_requests_without_answer_are_late() -> None:
    values = singly(1000, 0)
    values[[100, 300, 500]] = math.inf, math.nan, 2.0  # the limit itself is in time
    assert claims.judge_latency([values], 2.0).late == 2


def test_constant_latencies_are_as_good_as_they_look() -> None:
    for each in (np.ones(2000), np.full(2000, 2.0)):
        assert claims.judge_latency([each[:1000], each[1000:]], 2.0).effective_n == 2000


def test_late_requests_that_come_together_count_in_blocks() -> None:
    together = np.ones(4000)
    together[2000:2020] = 9.0
    found, alone = claims.judge_latency([together], 2.0), claims.judge_latency([singly(4000, 20)], 2.0)
    assert (found.late, alone.late, alone.verdict, alone.effective_n) == (20, 20, "proved", 4000)
    assert found.verdict == "unproved"
    assert found.effective_n < 4000 / 20
    assert found.more is None or found.more > 40000
    assert found.low <= 20 / 4000 <= found.high


def test_a_slow_spell_below_the_limit_counts_where_the_limit_is_near() -> None:
    random = np.random.default_rng(1)
    values = random.lognormal(0.0, 0.2, 1000)
    values[400:500] *= 1.3
    near, far = claims.judge_latency([values], 1.05 * values.max()), claims.judge_latency([values], 50.0)
    assert (near.late, far.late) == (0, 0)
    assert (near.verdict, far.verdict) == ("unproved", "proved")
    assert far.effective_n == 1000


def test_requests_may_count_together_and_a_proof_says_up_to_how_many() -> None:
    found = claims.judge_latency([singly(4600, 0)], 2.0)
    assert found.together == 10
    assert claims.judge_latency([singly(4600, 0)], 2.0, together=10.0).verdict == "proved"
    assert claims.judge_latency([singly(4600, 0)], 2.0, together=11.0).verdict == "unproved"


@settings(max_examples=40)
@given(st.integers(1, 400), st.integers(0, 400), st.floats(0.8, 0.999), st.floats(1.0, 50.0))
def test_claims_are_whole_and_go_through_json(n: int, late: int, confidence: float, together: float) -> None:
    values = np.where(np.arange(n) < late, 9.0, 1.0)
    found = claims.judge_latency([values], 2.0, confidence=confidence, together=together)
    assert found.verdict in ("proved", "refuted", "unproved")
    assert 1 <= found.effective_n <= n
    assert 0 <= found.low <= found.high <= 1
    assert (found.more == 0) == (found.verdict != "unproved")
    assert from_json(claims.Claim, to_json(found)) == found
    assert "\n" not in claims.describe(found)


MANY = {
    "log-normal": laws.log_normal(),
    "bimodal": laws.bimodal(),
    "Pareto": laws.pareto(),
    "memory 0.5": laws.modulated(0.5),
    "memory 0.9": laws.modulated(0.9),
    "memory 0.99": laws.modulated(0.99),
    "bursts of 10": laws.bursts(10.0),
    "queue": laws.queue(),
}


@pytest.mark.parametrize("law", MANY.values(), ids=MANY)
def test_wrong_proofs_are_as_rare_as_promised(law: laws.Law) -> None:
    """At the very limit, where a proof is hardest to avoid; see tests/benchmarks/claims.py for more of it."""
    random = np.random.default_rng(7)
    limit, seeds = law.quantile(0.99), 150
    found = [claims.judge_latency([law.draw(random, 1200) for _ in range(5)], limit) for _ in range(seeds)]
    most = scipy.stats.binom.ppf(0.999, seeds, 0.01)
    assert sum(claim.verdict == "proved" for claim in found) <= most
    assert sum(claim.verdict == "refuted" for claim in found) <= most


@pytest.mark.parametrize("law", [laws.log_normal(), laws.bimodal(), laws.pareto()], ids=lambda law: law.name)
def test_independent_requests_are_proved_and_refuted_where_they_can_be(law: laws.Law) -> None:
    random = np.random.default_rng(8)
    series = [[law.draw(random, 1200) for _ in range(5)] for _ in range(60)]
    proved = [claims.judge_latency(each, law.quantile(0.998)).verdict == "proved" for each in series]
    refuted = [claims.judge_latency(each, law.quantile(0.975)).verdict == "refuted" for each in series]
    assert min(sum(proved), sum(refuted)) >= 54


@pytest.mark.parametrize("law", MANY.values(), ids=MANY)
def test_the_laws_are_what_they_say(law: laws.Law) -> None:
    random = np.random.default_rng(9)
    values = np.concatenate([law.draw(random, 20000) for _ in range(20)])
    for q in (0.5, 0.99):
        share = float((values > law.quantile(q)).mean())
        assert share == pytest.approx(1 - q, rel=0.25)


def record(folder: Path, repeats: int = 3, n: int = 400, **changes: object) -> Record:
    """Requests of 1 ms one after the other; every 1000th takes 9 ms."""
    measurements = []
    for index in range(repeats):
        path = folder / f"{index}.npz"
        start = np.arange(n, dtype=np.int64) * 4_000_000
        number = np.arange(n) + index * n
        np.savez(path, start_ns=start, end_ns=start + np.where(number % 1000 == 999, 9_000_000, 1_000_000))
        measurements.append(Measurement(index, 250.0, 0.004 * n, n, n, 1.0, {}, 0.1, 1.0, {}, 1.0, 1.0, str(path), ""))
    base = Record("k", "net", {}, (), Status.OK, repeats=tuple(measurements))
    return replace(base, **changes)  # type: ignore[arg-type]  # fields by name


def test_claims_of_a_record_are_read_from_its_samples(tmp_path: Path) -> None:
    found = claims.judge_record(record(tmp_path), replace(LIMIT, latency_ms_p50_max=0.5))
    assert list(found) == ["latency_ms_p50_max", "latency_ms_p99_max"]
    assert found["latency_ms_p50_max"].verdict == "refuted"
    p99 = found["latency_ms_p99_max"]
    assert (p99.verdict, p99.late, p99.n, p99.limit_ms, p99.quantile) == ("proved", 1, 1200, 2.0, 0.99)
    assert claims.judge_record(record(tmp_path), replace(LIMIT, claim_confidence=0.9999999))["latency_ms_p99_max"].more


def test_requests_within_a_scheduler_slice_count_as_one(tmp_path: Path) -> None:
    slow = record(tmp_path)
    fast = replace(slow, repeats=tuple(replace(m, window_seconds=m.window_seconds / 8) for m in slow.repeats))
    found = claims.judge_record(fast, LIMIT)["latency_ms_p99_max"]
    assert found.verdict == "unproved"
    assert found.effective_n == pytest.approx(1200 / 6)  # 2,000 a second: 6 in 3 ms


def test_no_samples_no_claim(tmp_path: Path) -> None:
    assert claims.judge_record(record(tmp_path), replace(LIMIT, latency_ms_p99_max=None)) == {}
    assert claims.judge_record(record(tmp_path, origin=Origin.REPLAYED), LIMIT) == {}
    assert claims.judge_record(record(tmp_path, repeats=0), LIMIT) == {}
    gone = record(tmp_path)
    lost = replace(gone, repeats=tuple(replace(m, samples=str(tmp_path / "gone" / "x.npz")) for m in gone.repeats))
    assert claims.judge_record(lost, LIMIT) == {}
    nowhere = replace(gone, repeats=tuple(replace(m, samples="") for m in gone.repeats))
    assert claims.judge_record(nowhere, LIMIT) == {}


def test_claims_in_words() -> None:
    proved = claims.describe(claims.judge_latency([singly(4000, 4)], 2.0))
    assert proved.startswith("p99 <= 2.00 ms is proved: 4 of 4,000 requests were later, at most 0.29 % at 99 % confid")
    assert proved.endswith("1 % may be; it holds for up to 6 late at a time")
    refuted = claims.describe(claims.judge_latency([singly(1000, 100)], 20.0 / 3, quantile=0.95))
    assert refuted == (
        "p95 <= 6.67 ms is refuted: 100 of 1,000 requests were later, at least 7.9 % at 99 % confidence, 5 % may be"
    )
    unproved = claims.describe(claims.judge_latency([singly(300, 1)], 2.0))
    assert unproved.startswith("p99 <= 2.00 ms is unproved: 1 of 300 requests was later, ")
    assert unproved.endswith(" more requests would settle it")
    together = np.ones(4000)
    together[2000:2020] = 9.0
    assert "(as good as " in claims.describe(claims.judge_latency([together], 2.0))
    assert "nothing was measured; about 460 more requests" in claims.describe(claims.judge_latency([], 2.0))
    assert claims.describe(claims.judge_latency([singly(4000, 40)], 2.0)).endswith(
        "too close for more requests to settle it"
    )
