"""Fresh inputs are never those that were sent, mean the same work, and betray a model that keeps answers."""

import time
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes

from sweep.backends.base import Arrays, Runner
from sweep.worker import fresh
from sweep.worker.window import Request

DATA = np.random.RandomState(0).rand(8, 5).astype(np.float32)


class Slow(Runner):
    """Takes 2 ms; may keep its answers by the content of the inputs."""

    def __init__(self, keeps: bool) -> None:
        self.keeps, self.answers = keeps, {}  # type: ignore[var-annotated]

    def run(self, request: Any) -> Arrays:
        key = request[0].tobytes()
        if not (self.keeps and key in self.answers):
            time.sleep(0.002)
            self.answers[key] = (request[0] * 2,)
        return self.answers[key]


def compare(keeps: bool, data: np.ndarray = DATA) -> fresh.FreshFacts:
    runner = Slow(keeps)
    requests = [Request(runner, (data[[item]],), np.array([item])) for item in range(len(data))]
    for request in requests:
        runner.run(request.inputs)
    return fresh.compare(requests, lambda request: (data[request.items],), 0.001, 0)


def test_model_that_keeps_answers_is_betrayed() -> None:
    facts = compare(keeps=True)
    assert facts.pairs >= fresh.LEAST
    assert (facts.ratio or 0) > 10
    assert facts.slower_share == 1.0


def test_honest_model_is_as_fast_on_fresh_inputs() -> None:
    assert (compare(keeps=False).ratio or 9) < 1.5


def test_inputs_that_cannot_be_varied_are_said() -> None:
    facts = compare(keeps=True, data=np.zeros((8, 5), np.float32))
    assert (facts.pairs, facts.ratio) == (0, None)
    assert "nothing to vary" in facts.skipped


def test_slow_requests_have_pairs_in_the_first_repeat_only() -> None:
    assert fresh.compare([], lambda request: (), 0.2, 1).skipped
    assert fresh.compare([], lambda request: (), 2.0, 0).skipped


FLOATS = st.floats(-100, 100, width=32).filter(lambda x: abs(x) > 0.01)


@given(shapes.arrays(np.float32, (3, 4), elements=FLOATS, unique=True))
def test_floats_move_a_little_and_stay_in_range(array: np.ndarray) -> None:
    (varied,) = fresh.vary((array,), np.random.RandomState(0)) or (None,)
    assert varied is not None
    assert (varied != array).any(axis=1).all()
    assert np.abs(varied - array).max() <= 2e-3 * np.abs(array).max()
    assert array.min() <= varied.min() <= varied.max() <= array.max()


def test_tokens_change_places_and_masks_stay() -> None:
    tokens = np.array([[5, 6, 7, 0], [8, 9, 0, 0]])
    mask = (tokens > 0).astype(np.int64)
    varied = fresh.vary((tokens, mask), np.random.RandomState(0))
    assert varied is not None
    assert (np.sort(varied[0], axis=1) == np.sort(tokens, axis=1)).all()
    assert (varied[0] != tokens).any(axis=1).all()
    assert (varied[1] == mask).all()


def test_pairs_end_early_where_fresh_inputs_take_much_longer() -> None:
    class Table(Slow):
        def run(self, request: Any) -> Arrays:
            if request[0].tobytes() not in self.answers:
                time.sleep(0.6)
            return super().run(request)

    runner = Table(keeps=True)
    request = Request(runner, (DATA[[0]],), np.array([0]))
    runner.answers[DATA[[0]].tobytes()] = (DATA[[0]],)
    facts = fresh.compare([request], lambda request: (DATA[request.items],), 0.00001, 0)
    assert facts.pairs == fresh.LEAST
    assert (facts.ratio or 0) > 100
