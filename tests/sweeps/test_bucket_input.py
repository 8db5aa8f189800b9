"""What can be wrong with buckets: one line with the fix in it, or one trial that is left out while the others run."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from sweep.__main__ import run
from sweep.report.terminal import buckets
from sweep.spec import FailureKind, Record, Status, UserError, from_json
from sweep.store import ledger
from sweep.store.layout import SweepFolder
from sweep.verdict.buckets.results import ListGroup
from tests.engine.search.test_buckets import BAG, SLOW
from tests.support.planning import plan_trials
from tests.support.running import TINY, entries, sweep
from tests.sweeps.test_bad_input import one_error

pytestmark = pytest.mark.usefixtures("fake_pool")
ONCE = "effort.repeats=1"
PICTURES = [
    *TINY,
    "model=custom",
    "model.format=numpy",
    "model._target_=tests.support.bad_workloads.pooled",
    "model.requires=[]",
    "data=custom",
    "data._target_=tests.support.bad_workloads.pictures",
]


def without(base: list[str], *keys: str) -> list[str]:
    return [line for line in base if line.partition("=")[0].lstrip("+") not in keys]


def by_buckets(history: ledger.History) -> Mapping[str, Record]:
    return {json.dumps(record.settings["buckets"]): record for record in history.records.values()}


WRONG = {
    ("buckets=[0,128]",): "buckets must be an integer >= 1, not 0",
    ("buckets=[-5,128]",): "buckets must be an integer >= 1, not -5",
    ("buckets=[32.5,128]",): "buckets must be an integer >= 1, not 32.5",
    ("buckets=[true]",): "buckets must be an integer >= 1, not True",
    ("buckets=[long]",): "buckets must be an integer >= 1, not 'long'",
    ("buckets=[3000000000]",): "buckets must be at most 2147483647, not 3000000000",
    ("buckets=null",): "buckets must be a list like [128,224], auto or dynamic, not None",
    ("buckets=128",): "lists as an axis: buckets='[64,128]','[128,224]'",
    ("buckets=many",): "buckets must be a list like [128,224], auto or dynamic, not 'many'",
    ("buckets=[[]]",): "buckets must all have the same number of dimensions",
    ("buckets=[32,[64,64]]",): "buckets must all have the same number of dimensions",
    (
        "model.bucket_dims=1",
    ): "model.bucket_dims must name the axes of inputs that a bucket sets, like {input_ids: [1]}",
    ("model.bucket_dims={input_ids:1}",): "must name the axes of inputs that a bucket sets",
    ("model.bucket_dims={input_ids:[]}",): "must name the axes of inputs that a bucket sets",
    ("model.bucket_dims={input_ids:[a]}",): "must name the axes of inputs that a bucket sets",
    ("model.bucket_dims={input_ids:[0]}",): "(axis 0 is the batch), not {'input_ids': [0]}",
    ("model.bucket_dims={input_ids:[1,1]}",): "must name the axes of inputs that a bucket sets",
    ("model.bucket_dims={input_ids:[1],attention_mask:[1,2]}",): "must have as many axes for each input",
    ("model.pad_value=nothing",): "model.pad_value must be a number",
    ("model.pad_value={ids:1}",): "model.pad_value names ids, which is not padded: model.bucket_dims has input_ids",
    ("model.pad_value={input_ids:none}",): "model.pad_value must be a number, or one for each input",
    ("model.pad_side=top",): "model.pad_side must be one of right, left, not 'top'",
    ("bucketing.memory_mb=0",): "bucketing.memory_mb must be a number >= 0.001, not 0",
    ("bucketing.build_seconds=-1",): "bucketing.build_seconds must be a number >= 0.001, not -1",
}


@pytest.mark.parametrize("wrong", WRONG, ids=" ".join)
def test_mistake_is_one_line_with_the_fix(wrong: tuple[str, ...]) -> None:
    base = without(BAG, "model.bucket_dims") if "model.bucket_dims" in wrong[0] else BAG
    with pytest.raises(UserError) as caught:
        plan_trials(*base, *wrong)
    assert WRONG[wrong] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lists_are_sorted_each_bucket_once_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, history = sweep(tmp_path, "buckets=[128,32,128],[32,128],[64,128]", ONCE, *SLOW, base=BAG)
    said = [line for line in capsys.readouterr().out.splitlines() if "taken" in line or "asked for" in line]
    assert said == [
        "buckets are taken sorted, each once: [128,32,128] as [32,128]",
        "sweep custom: 2 trials, 1 asked for twice",
    ]
    assert status == 0
    found = by_buckets(history)
    assert found.keys() == {"[[32], [128]]", "[[64], [128]]"}
    assert {record.status for record in found.values()} == {Status.OK}


def test_nothing_is_said_of_lists_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BAG, f"outputs={tmp_path}", "plan=only", "buckets=[32,128],[64,128],[],auto,dynamic"]) == 0
    assert "sorted" not in capsys.readouterr().out


def test_what_a_model_cannot_have_is_left_out_and_the_others_run(tmp_path: Path) -> None:
    lists = "buckets=[128],[8,16],[[128,128,128]],[[64,128]]"
    status, history = sweep(tmp_path, lists, ONCE, *SLOW, base=BAG)
    found = by_buckets(history)
    assert status == 0
    assert found["[[128]]"].status is Status.OK
    assert {record.status for name, record in found.items() if name != "[[128]]"} == {Status.INVALID}
    short = found["[[8], [16]]"].reason
    assert short.endswith("of 60 inputs fit no bucket of [[8], [16]]: the largest is 128; add a bucket of 128")
    assert found["[[128, 128, 128]]"].reason == (
        "model custom has 1 bucket dimension (input_ids: [1], attention_mask: [1]): "
        "a bucket is one size of at least 1, not [128, 128, 128]"
    )
    assert "not [64, 128]" in found["[[64, 128]]"].reason


def test_equal_shapes_are_equal_buckets_however_they_are_written(tmp_path: Path) -> None:
    """One size stands for all dimensions: `[8]` and `[[8,8]]` are one trial, and their builds are shared."""
    lists = "buckets=[8],[[8,8]],[[4,8],[8,8]],[[8,8,8]]"
    status, history = sweep(tmp_path, "model.bucket_dims={picture:[1,2]}", lists, ONCE, base=PICTURES)
    found = by_buckets(history)
    assert status == 0
    assert {name: record.status for name, record in found.items()} == {
        "[[8, 8]]": Status.OK,
        "[[4, 8], [8, 8]]": Status.OK,
        "[[8, 8, 8]]": Status.INVALID,
    }
    assert "has 2 bucket dimensions (picture: [1, 2])" in found["[[8, 8, 8]]"].reason
    assert "or 2 like [64, 128], not [8, 8, 8]" in found["[[8, 8, 8]]"].reason
    assert len(entries(history, "build")) == 2


@pytest.mark.parametrize("buckets", ["[16]", "auto", "dynamic"])
def test_a_model_without_a_bucket_dimension(tmp_path: Path, capsys: pytest.CaptureFixture[str], buckets: str) -> None:
    status = run([*TINY, f"outputs={tmp_path}", f"buckets={buckets}"])
    captured = capsys.readouterr()
    assert status == (1 if buckets == "auto" else 2)
    told = " ".join((captured.out + captured.err).split())
    assert "model tiny declares no bucket dimension (model.bucket_dims)" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("base", "dims", "words"),
    [
        (BAG, "{ids:[1]}", "names ids: data custom has the inputs input_ids, attention_mask"),
        (BAG, "{input_ids:[2]}", "input_ids has the axes 1 to 1, axis 0 is the batch: [2] was given"),
        (BAG, "{input_ids:[1,2]}", "has 2 axes of input_ids, the sizes of data custom have 1 dimensions"),
        (PICTURES, "{image:[1]}", "names image: data custom has the inputs picture"),
        (PICTURES, "{picture:[3]}", "picture has the axes 1 to 2, axis 0 is the batch: [3] was given"),
    ],
    ids=["input", "axis", "dimensions", "input without sizes", "axis without sizes"],
)
@pytest.mark.parametrize("buckets", ["[128]", "auto"])
def test_dimensions_that_the_data_do_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], base: list[str], dims: str, words: str, buckets: str
) -> None:
    asked = [*without(base, "model.bucket_dims"), f"model.bucket_dims={dims}", f"buckets={buckets}"]
    assert run([*asked, f"outputs={tmp_path}"]) == 2
    captured = capsys.readouterr()
    assert words in " ".join((captured.out + captured.err).split())
    assert "Traceback" not in captured.out + captured.err


@pytest.mark.parametrize("buckets", ["[8]", "auto"])
def test_data_without_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str], buckets: str) -> None:
    base = without(BAG, "data._target_", "data.longest", "data.count")
    asked = ["data._target_=tests.support.bad_workloads.no_texts", f"buckets={buckets}"]
    assert run([*base, f"outputs={tmp_path}", *asked]) == 2
    captured = capsys.readouterr()
    assert "data custom has no samples: input input_ids is empty" in captured.out + captured.err
    assert "Traceback" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("size,count\n", "no lines behind the header"),
        ("", "the file is empty"),
        ("size,count\n5,0\n", "no size with a count above 0"),
        ("size,count\n-5,1\n", "size '-5' is negative"),
        ("size,count\n5.5,1\n", "size '5.5' is not a whole number"),
    ],
)
def test_traffic_that_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    file = tmp_path / "sizes.csv"
    file.write_text(text)
    assert run([*BAG, f"outputs={tmp_path / 'out'}", "buckets=auto", f"bucketing.traffic={file}"]) == 1
    told = one_error(capsys.readouterr())
    assert told.startswith(f"error: {file}:")
    assert words in told


def test_inputs_of_one_length_need_one_bucket(tmp_path: Path) -> None:
    base = [
        *without(BAG, "data._target_", "data.count"),
        "data._target_=tests.support.bad_workloads.texts_of_one_length",
    ]
    status, history = sweep(tmp_path, "buckets=auto", ONCE, *SLOW, base=base)
    assert status == 0
    assert by_buckets(history).keys() == {"[[128]]"}
    (found,) = json.loads(SweepFolder(history.folder).buckets.read_text())
    assert [row["buckets"] for row in found["rows"] if row["best_for_k"]] == [[[128]]]
    assert (
        buckets.describe_gain(from_json(ListGroup, found))
        == "All inputs have the size 128: more than one bucket is of no use."
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("size,count\n8,1\n64,2\n", "its largest size is 64, and data custom, which is measured with, has 128"),
        ("height,width,count\n128,128,1\n", "its sizes have 2 numbers, those of data custom 1"),
    ],
)
def test_traffic_that_does_not_fit_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, said: str
) -> None:
    file = tmp_path / "traffic.csv"
    file.write_text(lines)
    assert run([*BAG, f"outputs={tmp_path / 'out'}", "buckets=auto", f"bucketing.traffic={file}"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if said in line]
    assert str(file) in line


def test_a_bucket_that_cannot_be_built_among_others_that_can(tmp_path: Path) -> None:
    """The trial fails and names it; what does not need it runs, and every build that was made is kept and shared."""
    fault = ["backend.options.fault=build_raise", "backend.options.fault_when={bucket:[64]}"]
    asked = ["buckets=[32,64,128],[64,128]", ONCE, *fault, *SLOW]
    status, history = sweep(tmp_path, *asked, base=BAG)
    assert status == 2
    for record in history.records.values():
        assert record.status is Status.BUILD_FAILED
        assert record.reason.startswith("bucket 64: ")
        assert record.failure is not None
        assert record.failure.log is not None
    assert len(entries(history, "build")) == 3
    status, history = sweep(tmp_path, "buckets=[32,128],[32,64,128]", ONCE, *fault, *SLOW, base=BAG)
    found = by_buckets(history)
    assert status == 0
    assert found["[[32], [128]]"].status is Status.OK
    assert found["[[32], [64], [128]]"].status is Status.BUILD_FAILED
    assert entries(history, "build") == []  # nothing is made again, and the failure is remembered


def test_memory_for_some_of_the_buckets(tmp_path: Path) -> None:
    """A build takes 1.6 kB here: two fit."""
    asked = ["buckets=auto", "bucketing.max=4", "bucketing.memory_mb=0.0035", ONCE, *SLOW]
    status, history = sweep(tmp_path, *asked, base=BAG)
    assert status == 0
    (found,) = json.loads(SweepFolder(history.folder).buckets.read_text())
    assert [row["k"] for row in found["rows"] if row["best_for_k"]] == [1, 2]


@pytest.mark.parametrize("limit", ["memory_mb", "build_seconds"])
def test_memory_or_time_for_no_bucket_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: str) -> None:
    _, history = sweep(tmp_path, "buckets=auto", f"bucketing.{limit}=0.001", ONCE, *SLOW, base=BAG)
    captured = capsys.readouterr()
    told = " ".join((captured.out + captured.err).split())
    assert "no list of buckets fits: [128] alone needs" in told
    assert "the limit is 0.001; raise it" in told
    assert "Traceback" not in told
    assert {record.status for record in history.records.values()} == {Status.OK}  # what was measured stands


@pytest.mark.usefixtures("warm_pool")
def test_no_memory_for_the_next_bucket_when_it_is_loaded(tmp_path: Path) -> None:
    base = without(BAG, "model._target_")
    heavy = ["model._target_=tests.support.bad_workloads.heavy_bag", "limits.measure_memory_mb=240"]
    status, history = sweep(tmp_path, "buckets=[128],[16,32,64,128]", ONCE, *heavy, *SLOW, base=base)
    found = by_buckets(history)
    assert status == 0
    assert found["[[128]]"].status is Status.OK, found["[[128]]"].reason
    many = found["[[16], [32], [64], [128]]"]
    assert (many.status, many.failure and many.failure.kind) == (Status.RUN_FAILED, FailureKind.HOST_OOM)
    # Memory is looked at now and then: by the time that it is seen, the last bucket may have been loaded.
    where = r"(loading bucket \d+, the \w+ of 4: )?"
    assert re.match(where + r"held \d+ MB of memory, the limit is 240 MB", many.reason)
