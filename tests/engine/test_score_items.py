"""Which samples are scored: how many by the speed of the original, which by the content of the data alone."""

from pathlib import Path

import pytest

from sweep.engine import score_items
from sweep.engine.references import Reference

NOWHERE = Path("/nonexistent")


def reference(items: int, seconds: float | None, data: str = "0123456789abcdef0") -> Reference:
    return Reference("m", data, "r", NOWHERE, NOWHERE, items=items, seconds_per_item=seconds)


@pytest.mark.parametrize(
    ("setting", "seconds", "total", "count"),
    [
        ("auto", None, 50_000, 50_000),  # an earlier version's reference, whose speed is not known
        ("auto", 0.001, 50_000, 50_000),  # 50 s
        ("auto", 0.002, 50_000, 30_000),  # 60 s
        ("auto", 0.0357, 50_000, 1_600),  # 1,680 in 60 s
        ("auto", 0.5, 50_000, 1_000),  # 120 in 60 s are too few to tell 99 % from 98 %
        ("auto", 0.5, 800, 800),
        ("auto", 5.0, 50_000, 120),  # not more than 10 minutes
        ("auto", 100.0, 50_000, 64),
        ("auto", 100.0, 20, 20),
        ("all", 100.0, 50_000, 50_000),
        (200, 0.001, 50_000, 200),
        (200, None, 50, 50),
    ],
)
def test_count_follows_from_the_speed_of_the_original(
    setting: int | str, seconds: float | None, total: int, count: int
) -> None:
    assert score_items.count_items(setting, seconds, total) == count


def test_choice_is_of_the_data_alone_and_grows() -> None:
    few, same, more = (
        score_items.list_items({"score_items": count}, reference(1000, seconds))
        for count, seconds in ((50, None), (50, 3.0), (200, None))
    )
    assert few is not None
    assert more is not None
    assert few == same == tuple(sorted(set(few)))
    assert set(few) < set(more)
    assert (len(few), len(more)) == (50, 200)
    other = score_items.list_items({"score_items": 50}, reference(1000, None, data="f123456789abcdef0"))
    assert other != few


def test_everything_is_scored_without_a_list_or_a_word() -> None:
    assert score_items.list_items({}, reference(1000, 0.001)) is None
    assert score_items.describe({"name": "mine"}, reference(1000, 0.001)) == ""


def test_run_says_that_not_all_are_scored() -> None:
    text = score_items.describe({"name": "mine"}, reference(50_000, 0.5))
    assert text == (
        "mine: agreement and accuracy are those of 1,000 of its 50,000 samples, the same for all trials "
        "(data.score_items=auto; all: every sample)"
    )
