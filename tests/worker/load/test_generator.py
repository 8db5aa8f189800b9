"""What a load may be, and the loops that make it: clients that wait, and arrivals that do not. Without real time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.backends.base import Arrays, Runner
from sweep.config import schema
from sweep.spec import FailureKind, Json, Measurement, UserError
from sweep.spec.facts import LoadFacts
from sweep.spec.settings import Gates
from sweep.verdict import gates
from sweep.worker import window as measure
from sweep.worker.load import account, arrivals, clients, config, generator
from sweep.worker.load.batcher import Padded, Stock
from sweep.worker.load.generator import Clock, OpenWindow
from sweep.worker.load.queue import Shared
from sweep.worker.window import Request, Warm
from tests.support import queueing_theory
from tests.support.records import make_effort, make_load

MS = 1_000_000
POISSON: Json = {"name": "poisson", "rate": 100.0, "max_wait_ms": 5.0, "seed": 0}
EFFORT = make_effort(1.0, 10)


def write(folder: Path, text: str) -> str:
    path = folder / "trace.csv"
    path.write_text(text)
    return str(path)


# --- what may be asked for


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ({"name": "saturate", "concurrency": 0}, "load.concurrency must be an integer >= 1, not 0"),
        ({"name": "saturate", "concurrency": True}, "load.concurrency must be an integer >= 1, not True"),
        ({"name": "saturate"}, "load saturate has no concurrency: say load.concurrency=..."),
        ({**POISSON, "rate": 0}, "load.rate must be items/s above 0, at most 1000000, not 0"),
        ({**POISSON, "rate": -3.5}, "load.rate must be items/s above 0"),
        ({**POISSON, "rate": 1e9}, "at most 1000000"),
        ({**POISSON, "rate": float("nan")}, "not nan"),
        ({**POISSON, "rate": "fast"}, "not 'fast'"),
        (
            {**POISSON, "max_wait_ms": -1},
            "load.max_wait_ms must be a number >= 0 (0: no item waits for others), not",
        ),
        ({**POISSON, "seed": -1}, "load.seed must be an integer >= 0, not -1"),
        ({**POISSON, "speed": 2}, "no key 'load.speed'"),
        ({"name": "poison"}, "there is no load 'poison': did you mean 'poisson'?"),
        ({"name": "capacity", "slo_p99_ms": 0, "max_wait_ms": 1, "probes": 5, "seed": 0}, "load.slo_p99_ms must be a"),
        ({"name": "trace", "file": "", "speed": 1, "max_wait_ms": 1}, "load.file must be the path of a CSV file"),
        ({"name": "trace", "file": "/nowhere.csv", "speed": 1, "max_wait_ms": 1}, "cannot read /nowhere.csv: No such"),
    ],
)
def test_wrong_load_is_refused_in_one_line_with_the_fix(load: Json, said: str) -> None:
    with pytest.raises(UserError) as error:
        schema.check("load", load)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the trace is empty"),
        ("time_s\n", "the trace is empty"),
        ("when\n1\n", ":1: the columns are when: one must be time_s"),
        ("time_s\n1\nsoon\n", ":3: time_s 'soon' is not a number"),
        ("time_s\n1\nnan\n", ":3: time_s 'nan' is not a number"),
        ("size,time_s\n5,1\n5\n", ":3: the line has no time_s"),
        ("time_s\n0.5\n# a remark\n2\n1.5\n", ":5: the clock goes backwards, from 2 to 1.5: sort the lines by time_s"),
    ],
)
def test_error_in_trace_names_its_line(tmp_path: Path, text: str, said: str) -> None:
    load = {"name": "trace", "file": write(tmp_path, text), "speed": 1.0, "max_wait_ms": 1.0}
    with pytest.raises(UserError) as error:
        schema.check("load", load)
    assert "trace.csv" + said in str(error.value).replace(": the trace", "the trace")


def test_content_of_a_trace_is_part_of_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "time_s,size\n10,5\n10,6\n12.5,7\n")
    asked = {"name": "trace", "file": "trace.csv", "speed": 5.0, "max_wait_ms": 1.0}
    first = schema.check("load", asked)
    assert first["file"] == str(tmp_path / "trace.csv")
    assert (first["arrivals"], first["seconds"], config.plan_seconds(first, 9.0)) == (3, 2.5, 0.5)
    assert schema.check("load", first) == first
    assert arrivals.replay_trace(first["file"], first["sha256"], 5.0).tolist() == [0, 0, 500 * MS]
    write(tmp_path, "time_s,size\n10,5\n10,6\n12.5,8\n")
    assert schema.check("load", asked) != first
    with pytest.raises(UserError, match="has changed since the sweep was declared"):
        arrivals.replay_trace(first["file"], first["sha256"], 5.0)


def test_which_loads_are_open() -> None:
    assert [name for name in config.LOADS if config.is_open_loop({"name": name})] == [
        *("offline", "poisson", "trace", "capacity")
    ]
    assert not config.is_open_loop({})
    assert (config.request_items({"name": "single"}, 8), config.request_items(POISSON, 8)) == (1, 8)
    assert (config.count_clients({}), config.count_clients({"concurrency": 3})) == (1, 3)


# --- arrivals


def test_random_arrivals_are_a_poisson_process() -> None:
    counts = np.array([len(arrivals.draw_poisson(50.0, 2.0, (0, repeat))) for repeat in range(2000)])
    assert counts.mean() == pytest.approx(100, rel=0.01)
    assert counts.var() == pytest.approx(100, rel=0.1)
    due = arrivals.draw_poisson(1000.0, 100.0, (3, 0))
    gaps = np.diff(due) / 1e9
    assert (gaps >= 0).all()
    assert 0 <= due[0] <= due[-1] < 100e9
    assert gaps.mean() == pytest.approx(1e-3, rel=0.02)
    assert gaps.std() == pytest.approx(1e-3, rel=0.02)


def test_repeats_have_arrivals_of_their_own_and_trials_share_them() -> None:
    (first, seconds), (again, _), (other, _) = (
        generator.plan_arrivals(POISSON, EFFORT, repeat) for repeat in (0, 0, 1)
    )
    assert seconds == 1.0
    assert first.tolist() == again.tolist() != other.tolist()


def test_slow_rate_stretches_the_window_and_no_arrivals_is_an_error() -> None:
    assert generator.plan_arrivals({**POISSON, "rate": 5.0}, EFFORT, 0)[1] == 2.0
    assert generator.plan_arrivals({**POISSON, "rate": 1.0}, EFFORT, 0)[1] == 3.0
    with pytest.raises(UserError, match=r"nothing arrives in 3 s at load.rate=0.001: raise effort.window_seconds, or"):
        generator.plan_arrivals({**POISSON, "rate": 0.001}, EFFORT, 0)


# --- one replica


class Time:
    """A clock that passes by itself: only when somebody waits or works."""

    def __init__(self, late_ns: int = 0, step_ns: int = 0) -> None:
        self.ns = 0
        self.late_ns, self.step_ns = late_ns, step_ns

    def now(self) -> int:
        self.ns += self.step_ns
        return self.ns

    def wait(self, until_ns: int) -> None:
        if until_ns > self.ns:
            self.ns = until_ns + self.late_ns

    @property
    def clock(self) -> Clock:
        return Clock(self.now, self.wait)


class Device(Runner):
    """Doubles its input in `service_ns`; the first request after each moment of `stalls` takes as much more."""

    precision = "fp32"

    def __init__(self, time: Time, service_ns: int, stalls: dict[int, int] | None = None) -> None:
        self.time, self.service_ns, self.stalls = time, service_ns, dict(stalls or {})

    def run(self, request: Any) -> Arrays:
        for moment in [moment for moment in self.stalls if moment <= self.time.ns]:
            self.time.ns += self.stalls.pop(moment)
        self.time.ns += self.service_ns
        return (request[0] * 2.0,)


def stock_of(runner: Runner, samples: int = 8, batch: int = 1) -> Stock:
    data = np.arange(samples, dtype=np.float32)
    order, buckets = np.arange(samples), np.zeros(samples, np.int64)

    def ask(bucket: int, items: np.ndarray) -> Request:
        return Request(runner, None, items, bucket, batch)

    return Stock([runner], [Padded(order, (data,))], order, buckets, batch, ask)


def served(
    time: Time, device: Device, due_ns: np.ndarray, seconds: float, batch: int = 1, wait_ms: float = 0.0
) -> tuple[OpenWindow, LoadFacts]:
    """One replica's window, and its account."""
    stock = stock_of(device, batch=batch)
    queue = generator.make_queue(stock, due_ns, wait_ms, Shared(2))
    start = time.ns
    done = generator.serve(queue, stock, start, round(2e9 * seconds), 100, time.clock)
    opened = generator.collect_window(done, queue, stock, start, seconds)
    return opened, account.sum_up(POISSON, [parts(opened)]).load


def parts(opened: OpenWindow) -> dict[str, np.ndarray]:
    window, more = opened
    return {"start_ns": window.start_ns, "end_ns": window.end_ns, **more}


def latency_ms(opened: OpenWindow) -> np.ndarray:
    return (opened[1]["done_ns"] - opened[1]["due_ns"]) / 1e6


def test_a_replica_serves_as_theory_says() -> None:
    time, due = Time(), arrivals.draw_poisson(80.0, 20.0, (0, 0))
    time.ns = 12345
    opened, load = served(time, Device(time, 10 * MS), due, 20.0)
    assert (opened[1]["done_ns"] - opened[1]["due_ns"]).tolist() == queueing_theory.latencies(due, 10 * MS).tolist()
    assert (load.arrived, load.finished, load.left) == (len(due), len(due), 0)
    assert (load.lag_ms_mean, load.own_share, load.overloaded) == (0.0, 0.0, False)
    assert load.busy_share == pytest.approx(len(due) * 0.01 / 20.0, rel=0.01)


def test_outputs_cover_one_pass_and_filled_rows_do_not_count() -> None:
    time = Time()
    due = np.array([0, 0, 0, 100, 200, 200, 300, 300, 400, 400, 400]) * MS
    (window, _), load = served(time, Device(time, MS), due, 0.5, batch=3, wait_ms=1.0)
    assert [len(request.items) for request in window.requests] == [3, 1, 2, 2, 3]
    assert load.batch_mean == 11 / 5
    assert len(window.kept) == 4  # eight samples have been seen
    index, (answers,) = measure.collect_outputs(window)
    assert index.tolist() == list(range(8))
    assert (answers == index * 2.0).all()


def test_open_loop_shows_stalls_that_a_closed_loop_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stall of 1 s in 20 s, a service of 10 ms, arrivals at a tenth of what the server can do."""
    stalls = {5000 * MS: 1000 * MS}
    time = Time()
    monkeypatch.setattr(measure, "clock", time.now)
    device = Device(time, 10 * MS, stalls)
    requests = [Request(device, (np.zeros(1),), np.arange(1))]
    closed = measure.run_timed_window(requests, 0, 20.0, 1, 1)
    hidden = np.percentile((closed.end_ns - closed.start_ns) / 1e6, 99.9)
    assert hidden == 10.0
    time = Time()
    due = arrivals.draw_poisson(10.0, 20.0, (0, 0))
    opened, load = served(time, Device(time, 10 * MS, stalls), due, 20.0)
    # A twentieth of the arrivals falls into the stall, and waits for what is left of it
    late = np.sort(latency_ms(opened))[::-1]
    assert late[0] == pytest.approx(1000, rel=0.15)
    assert np.percentile(late, 99) == pytest.approx(1000 * (1 - 20 * 0.01), rel=0.2)
    assert not load.overloaded


def test_rate_far_above_capacity_ends_early_and_is_reported() -> None:
    time, due = Time(), arrivals.draw_poisson(1000.0, 4.0, (0, 0))
    opened, load = served(time, Device(time, 10 * MS), due, 4.0)
    assert load.finished == len(latency_ms(opened)) == 800  # twice the window, 10 ms each
    assert load.left == len(due) - 800
    assert load.overloaded
    assert load.busy_share == pytest.approx(1.0, rel=0.01)
    found = account.sum_up(POISSON, [parts(opened)])
    assert found.rate == pytest.approx(100.0, rel=0.01)
    assert found.seconds == pytest.approx(8.0, rel=0.01)


def test_latency_far_below_capacity_is_the_service_time() -> None:
    time, due = Time(), np.array([0, 500, 900]) * MS
    opened, load = served(time, Device(time, 2 * MS), due, 1.0)
    assert latency_ms(opened).tolist() == [2.0, 2.0, 2.0]
    assert (load.overloaded, load.left, load.batch_mean) == (False, 0, 1.0)
    assert account.sum_up(POISSON, [parts(opened)]).rate == pytest.approx(3.0)


def test_account_sums_replicas_even_if_one_is_idle() -> None:
    time, due = Time(), np.array([0, 100]) * MS
    opened, _ = served(time, Device(time, 2 * MS), due, 1.0)
    none = {name: opened[1][name][:0] for name in ("due_ns", "done_ns", "ready_ns")}
    idle = measure.Window.of([], [], [], []), {**opened[1], **none}
    found = account.sum_up(POISSON, [parts(idle), parts(opened)])
    assert found.load is not None
    assert (found.load.finished, found.load.left) == (2, 0)
    assert found.items["due_ns"].tolist() == due.tolist()


# --- the generator looks at itself


def measured(load: LoadFacts | None, latency: float, index: int = 0) -> Measurement:
    tails = {"p50": latency, "p99": latency, "max": latency}
    return Measurement(
        *(index, 100.0, 1.0, 100, 100, latency, tails, 0.1, 1.0, {}, 1.0, 1.0, "", ""), precision="fp32", load=load
    )


def judged(loads: list[LoadFacts], latency: float) -> str | None:
    repeats = [measured(load, latency, index) for index, load in enumerate(loads)]
    failure = gates.generator(gates.Evidence(repeats, {}, (), "fp32", Gates(), None, None))
    assert failure is None or failure.kind is FailureKind.IMPLAUSIBLE_TIMING
    return None if failure is None else failure.summary


def test_late_generator_rejects_the_trial() -> None:
    time, due = Time(late_ns=3 * MS), np.arange(50) * 100 * MS
    opened, load = served(time, Device(time, 10 * MS), due, 5.0)
    assert load.lag_ms_p50 == load.lag_ms_p99 == 3.0
    assert load.lag_ms_mean == pytest.approx(3.0, rel=0.05)  # the first left at once
    assert load.own_share == 0.0
    said = judged([load, load, load], float(latency_ms(opened).mean()))
    assert said is not None
    assert "batches left 2.9 ms late on average where items take 12.9 ms" in said
    assert "load=saturate" in said
    fine = replace(load, lag_ms_mean=0.001)
    assert judged([load, fine, fine], 12.9) is None  # one bad repeat of three is the machine's


def test_slow_generator_between_requests_is_detected() -> None:
    time = Time(step_ns=MS)  # each look at the clock takes so long
    opened, load = served(time, Device(time, 10 * MS), np.zeros(100, np.int64), 5.0)
    assert load.own_share == pytest.approx(1 / 12, rel=0.05)
    said = judged([load], float(latency_ms(opened).mean()))
    assert said is not None
    assert "it took 8.3" in said


def test_littles_law_holds_in_closed_loops_only() -> None:
    limits = Gates()
    wrong = measured(None, 50.0)  # 100 requests/s of 50 ms are five in flight, not one
    assert gates.little(gates.Evidence([wrong], {}, (), "fp32", limits, None, None)) is not None
    opened = replace(wrong, load=make_load())
    evidence = gates.Evidence([opened], {}, (), "fp32", limits, None, None)
    assert gates.little(evidence) is None
    assert gates.generator(evidence) is None


# --- clients that wait


class Sleeping(Runner):
    """Answers twice its input after a while, for any number of callers at once."""

    precision = "fp32"

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def run(self, request: Any) -> Arrays:
        import time

        if self.broken:
            raise ValueError("no thread may call this")
        time.sleep(0.002)
        return (request[0] * 2.0,)


def warm(runner: Runner, samples: int = 10) -> Warm:
    data = np.arange(samples, dtype=np.float32)
    requests = [Request(runner, (data[n : n + 1],), np.array([n])) for n in range(samples)]
    return Warm(requests, 500.0, 100, measure.clock)


def test_clients_call_at_the_same_time_and_each_sample_is_answered() -> None:
    ready = warm(Sleeping())
    window = clients.run_window(ready, make_effort(0.1, 10), 4)
    assert sorted(set(window.client.tolist())) == [0, 1, 2, 3]
    index, (answers,) = measure.collect_outputs(window)
    assert index.tolist() == list(range(10))
    assert (answers == index * 2.0).all()
    common = measure.measure_common_window(window.start_ns, window.end_ns, window.client, 1)
    in_flight = common.rate * common.mean_ms / 1e3
    assert in_flight == pytest.approx(4.0, rel=0.12)
    assert common.seconds >= 0.09


def test_single_client_sends_requests_in_order() -> None:
    window = clients.run_window(warm(Sleeping()), make_effort(0.05, 12), 1)
    numbers = window.number.tolist()
    assert numbers == [each % 10 for each in range(len(numbers))]
    assert set(window.client.tolist()) == {0}


def test_error_in_a_client_thread_is_raised_unchanged() -> None:
    with pytest.raises(ValueError, match="no thread may call this"):
        clients.run_window(warm(Sleeping(broken=True)), make_effort(0.1, 1), 3)
