"""Requests to workers: what is written is what is read, also from the files of earlier versions."""

from dataclasses import replace
from typing import Any

import pytest

from sweep.isolate.pool import Request
from sweep.spec import BuildSpec, Placement, from_json, to_json
from sweep.spec.requests import (
    Artifact,
    BuildRequest,
    MeasureRequest,
    PaddedReferenceRequest,
    Padding,
    ProbeRequest,
    ReferenceRequest,
    ScoreRequest,
    TogetherRequest,
    VersionsRequest,
)
from tests.support.records import EFFORT

SPEC = BuildSpec({"name": "net"}, {"name": "x"}, "fake", {"level": 1}, "fp32", 2, (4,))
PADDING = Padding({"ids": [1]}, {"ids": 3}, "left")
MEASURE = MeasureRequest(
    builds=(Artifact(SPEC, "build"),),
    data_folder="data",
    batch=2,
    placements=(Placement("cpu", (0, 1), 2),),
    effort=EFFORT,
    repeat=3,
    share=0.25,
    options={"level": 1},
    load={"name": "poisson", "rate": 5.0},
    padding=PADDING,
    toolchain={"numpy": "2"},
    flops_by_size=(((4,), 10.0), ((8,), 20.0)),
    label="net-fake",
)


@pytest.mark.parametrize(
    "request_",
    [
        ProbeRequest("fake", {"a": 1}),
        VersionsRequest(("numpy",)),
        ReferenceRequest({"name": "net"}, {"name": "x"}, "data", "reference", flops=True),
        BuildRequest(SPEC, "data", "artifact", PADDING, {"numpy": "2"}, entry="sweep.backends.replay.answers:build"),
        MEASURE,
        TogetherRequest((MEASURE, MEASURE)),
        ScoreRequest(replace(MEASURE, scored=(0, 3))),
        PaddedReferenceRequest({"name": "net"}, "data", (1, 7), ((4,), (8,)), PADDING),
    ],
    ids=lambda request_: type(request_).__name__,
)
def test_requests_survive_their_file(request_: Request) -> None:
    assert from_json(type(request_), to_json(request_)) == request_


def earlier(request: Any) -> dict[str, Any]:
    """As versions up to f9dda2f wrote it: padding in three fields, and more than is read."""
    flat = {**to_json(request), "bucket_dims": {"ids": [1]}, "pad_value": {"ids": 3}, "pad_side": "left", "more": 1}
    del flat["padding"]
    return flat


@pytest.mark.parametrize("request_", [BuildRequest(SPEC, "data", "artifact", PADDING), MEASURE])
def test_requests_of_earlier_versions_are_understood(request_: Any) -> None:
    assert from_json(type(request_), earlier(request_)) == request_
    together = {"members": [earlier(MEASURE)], "entry": "sweep.worker.entries:measure_together"}
    assert from_json(TogetherRequest, together).members == (MEASURE,)


def test_fields_that_an_earlier_version_lacked_have_defaults() -> None:
    old = {name: value for name, value in earlier(MEASURE).items() if name not in ("load", "label", "toolchain")}
    assert from_json(MeasureRequest, old).load == {}


def test_padding_comes_from_the_config_of_a_model() -> None:
    assert Padding.of({"name": "net"}) == Padding()
    assert Padding.of({"bucket_dims": {"ids": [1]}, "pad_value": 3}).value_of("ids") == 3.0
    assert PADDING.value_of("mask") == 0.0
