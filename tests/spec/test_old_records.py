"""What version 0.1 wrote (`tests/data/records_0.1.json`) is read: its facts lay in notes, its requests had no types."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweep.spec import BuildInfo, Measurement, Record, from_json, to_json
from sweep.spec.facts import Price, ReferenceInfo, SourceFacts
from sweep.spec.requests import BuildRequest, MeasureRequest, ReferenceRequest, TogetherRequest
from sweep.verdict.buckets.results import ListGroup
from tests.support.records import make_record

OLD: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "records_0.1.json").read_text())


def old(name: str) -> Record:
    return from_json(Record, OLD["records"][name])


def repeat_of(name: str) -> Measurement:
    (repeat,) = old(name).repeats
    return repeat


@pytest.mark.parametrize("name", OLD["records"])
def test_facts_of_repeat_have_left_notes(name: str) -> None:
    record, (written,) = old(name), OLD["records"][name]["repeats"]
    assert written["notes"], "the file is of a version with facts in notes"
    (repeat,) = record.repeats
    assert repeat.notes == {}
    assert (repeat.precision, repeat.wall_seconds) == ("fp32", written["notes"]["wall_seconds"])
    assert repeat.host.known() == written["notes"]["host"]
    assert from_json(Record, to_json(record)) == record


def test_buckets_are_read() -> None:
    record, repeat = old("buckets"), repeat_of("buckets")
    assert (
        [bucket.bucket for bucket in record.buckets] == [bucket.bucket for bucket in repeat.buckets] == [(32,), (128,)]
    )
    (written,) = OLD["records"]["buckets"]["repeats"]
    assert (repeat.padding, repeat.loaded_mb) == (written["notes"]["padding"], written["notes"]["loaded_mb"])
    assert record.buckets[0].share == OLD["records"]["buckets"]["notes"]["buckets"][0]["share"]
    assert record.notes == {}


def test_open_loads_and_capacities_are_read() -> None:
    load = repeat_of("poisson").load
    assert load is not None
    assert (load.scenario, load.rate, load.overloaded) == ("poisson", 3000.0, True)
    assert load.arrived == load.finished + load.left
    assert old("poisson").notes["overloaded"].startswith("the queue grew in 2 of 2 repeats")  # a line for people
    capacity = repeat_of("capacity").capacity
    assert capacity is not None
    assert capacity.slo_p99_ms == 60.0
    assert len(capacity.curve) == 3
    assert capacity.curve[0].rate > 0


def test_deployments_prices_and_reuse_are_read() -> None:
    place = old("deployment").deployment
    assert place is not None
    assert (place.member, place.first_core, len(place.members)) == (0, 0, 2)
    assert old("price").price == Price(0.5, "on_demand", source="mine")
    reuse = old("reused").reuse
    assert reuse is not None
    assert reuse.sweep == OLD["records"]["price"]["sweep"]
    assert old("reused").notes == {}


def test_source_of_reported_record_is_read() -> None:
    parts = {"source": "a page", "date": "2020", "mistakes": ["x"], "table": "t.csv:3", "row": {"model": "net"}}
    written = {**to_json(make_record()), "notes": {**parts, "replayed": ["a line"]}}
    del written["source"]
    record = from_json(Record, written)
    assert record.source == SourceFacts("a page", "2020", ("x",), "t.csv:3", {"model": "net"})
    assert record.notes == {"replayed": ["a line"]}


def test_note_of_today_stays_a_note() -> None:
    """Only JSON without the field is of an earlier version."""
    repeat = from_json(Measurement, {**to_json(make_record().repeats[0]), "notes": {"load": "a word of a backend"}})
    assert (repeat.load, repeat.notes) == (None, {"load": "a word of a backend"})


def test_builds_and_references_are_read() -> None:
    info = from_json(BuildInfo, OLD["build"])
    assert len(info.left_behind) == 2
    assert "left_behind" not in info.notes
    reference = from_json(ReferenceInfo, OLD["references"])
    assert reference.items == OLD["references"]["items"]
    assert [size for size, _ in reference.flops_by_size] == [tuple(e[0]) for e in OLD["references"]["flops_by_size"]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("references", ReferenceRequest),
        ("builds", BuildRequest),
        ("repeats", MeasureRequest),
        ("together", TogetherRequest),
    ],
)
def test_requests_are_read(name: str, kind: type[Any]) -> None:
    request = from_json(kind, OLD["requests"][name])
    assert request.entry == OLD["requests"][name]["entry"]
    if name in ("builds", "repeats"):
        assert request.padding.dims == OLD["requests"][name]["bucket_dims"] != {}


def test_lists_of_buckets_are_read() -> None:
    (group,) = from_json(tuple[ListGroup, ...], OLD["buckets"])
    (written,) = OLD["buckets"]
    assert [to_json(row.buckets) for row in group.rows] == [row["buckets"] for row in written["rows"]]
    assert group.traffic is not None
    assert to_json(group.traffic) == written["traffic"]
    results = [(row.measured, each["measured"]) for row, each in zip(group.rows, written["rows"], strict=True)]
    for result, before in results:
        if result is not None:
            assert to_json(result).items() >= {k: v for k, v in before.items() if k not in ("buckets", "sizes")}.items()
            assert len(result.buckets) == len(before["buckets"])
    assert any(result is not None for result, _ in results)
