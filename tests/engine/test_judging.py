"""Numbers and notes of a trial over all its repeats."""

from dataclasses import replace

from sweep.engine import judging
from tests.support.records import make_load, make_measurement


def test_load_metrics_of_several_repeats() -> None:
    load = make_load(rate=100.0, left=3, batch_mean=2.0, overloaded=True, lag_ms_p99=0.1)
    calm = replace(load, left=0, overloaded=False, batch_mean=3.0)
    repeats = [replace(make_measurement(number, 95.0), load=facts) for number, facts in enumerate((load, calm))]
    assert judging.compute_load_metrics(repeats) == {
        "arrival_rate_items_per_s": 100.0,
        "batch_items_mean": 2.5,
        "left_items": 3.0,
        "overloaded_share": 0.5,
        "generator_lag_ms_p99": 0.1,
    }
    assert judging.note_overload(repeats) == {
        "overloaded": "the queue grew in 1 of 2 repeats: 100 items/s arrived and 95 were answered"
    }
    assert judging.note_overload(repeats[1:]) == {}


def test_closed_loop_has_no_load_metrics() -> None:
    assert judging.compute_load_metrics([make_measurement()]) == {}
    assert judging.note_overload([make_measurement()]) == {}
