"""What happened on the way to a result."""

from dataclasses import replace

import pytest

from sweep.report import events
from tests.support.records import make_measurement, make_record


@pytest.mark.parametrize(
    ("rotated", "items", "words"),
    [
        (890, 5000, ["samples  requests went round 890 of 50,000 samples"]),
        (890, 890, []),  # the window was short, and each sample was new
        (50_000, 200_000, []),
        (None, 5000, []),  # of an earlier version
    ],
)
def test_part_of_the_data_that_requests_went_round_is_named(rotated: int | None, items: int, words: list[str]) -> None:
    of_data = None if rotated is None else 50_000
    repeat = replace(make_measurement(), samples_rotated=rotated, samples_of_data=of_data, items=items)
    lines = events.describe_events(replace(make_record(), repeats=(repeat,)))
    assert [line for line in lines if line.startswith("samples")] == words
