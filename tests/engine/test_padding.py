"""Wrong answers of padded trials: padding, the build, or both, and what is said where it cannot be found out."""

import os
import signal
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.__main__ import run
from sweep.engine import padding as padded
from sweep.spec import FailureKind, Json, Record, Status
from sweep.spec.requests import Padding
from sweep.spec.settings import Gates
from sweep.store import ledger
from sweep.verdict import gates
from sweep.verdict.stats import agreement
from sweep.worker import batching, data_sets, padded_reference
from sweep.workloads.base import check_dataset
from tests.support.running import QUICK, ROOT, kill_group, start, sweep
from tests.support.text_workloads import DIMS, texts

pytestmark = pytest.mark.usefixtures("fake_pool")
TEXTS = [
    "model=custom",
    "model.bucket_dims={input_ids:[1],attention_mask:[1]}",
    "data=custom",
    "data._target_=tests.support.text_workloads.texts",
    *QUICK,
    "effort.repeats=1",
    "gates.little_tolerance=1.0",
]
FAKE = [
    "backend=fake",
    "model._target_=tests.support.padding_workloads.model",
    "model.format=numpy",
    "model.requires=[]",
]
BAG = [*TEXTS, *FAKE]
TORCH = [*TEXTS, "backend=torch", "model._target_=tests.support.padding_workloads.module"]
LIMITS = Gates(agreement_min={"fp32": 0.99}, cosine_min={"fp32": 0.999})


def asked(history: ledger.History) -> list[Path]:
    """Folders of the workers that asked the original with padding."""
    return sorted((history.folder / "padding").glob("*"))


def told(record: Record) -> Json:
    found: Json = (record.agreement or {}).get("padding", {})
    return found


def one(outputs: Path, *overrides: str, base: list[str] = BAG) -> tuple[Record, ledger.History]:
    _, history = sweep(outputs, *overrides, base=base)
    (record,) = history.records.values()
    return record, history


def is_padding(record: Record) -> None:
    assert record.status is Status.REJECTED
    assert record.failure is not None
    assert record.failure.kind is FailureKind.WRONG_OUTPUT
    assert record.reason == record.failure.summary
    assert "\n" not in record.reason
    assert "padding changes the original model's own answers too" in record.reason
    assert "correct the mask (model.bucket_dims, pad_value, pad_side)" in record.reason
    assert "fp32 must reach" in record.reason  # the gate's own numbers
    assert "better calibration" not in record.reason  # but not its advice
    found = told(record)
    assert found["cause"] == "padding"
    for part in ("original", "build"):
        assert f"mean cosine {found[part]['cosine_mean']:.5f}" in record.reason
    assert found["original"]["cosine_mean"] < 0.99
    assert found["build"]["cosine_mean"] > 0.9999


# --- whole sweeps -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_pool")
def test_mask_and_build_are_told_apart(tmp_path: Path) -> None:
    """Both with and without a working mask, each with and without a build that answers wrongly."""
    faults = "backend.options.fault=null,wrong_answers"
    _, history = sweep(tmp_path, "buckets=[4,12]", "+model.kind=bag,unmasked", faults, base=BAG)
    found = {(r.settings["kind"], r.settings["fault"]): r for r in history.records.values()}
    assert len(found) == 4
    assert found["bag", "null"].status is Status.OK
    assert "padding" not in (found["bag", "null"].agreement or {})
    is_padding(found["unmasked", "null"])

    build = found["bag", "wrong_answers"]
    assert build.status is Status.REJECTED
    assert told(build)["cause"] == "build"
    assert "padding is not the cause" in build.reason
    assert "try a wider precision" in build.reason  # the advice of the gate stands
    assert told(build)["original"]["agreement"] == 1
    assert told(build)["build"]["cosine_mean"] < 0.9

    both = found["unmasked", "wrong_answers"]
    assert told(both)["cause"] == "both"
    assert "both are at fault" in both.reason
    assert all(f"{told(both)[part]['cosine_mean']:.5f}" in both.reason for part in ("original", "build"))

    assert len(asked(history)) == 2  # once for each original, whatever the build does to it


def test_precisions_share_answers_of_original(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "buckets=[12],[6,12]", "precision=fp32,fp16", "+model.kind=unmasked", base=BAG)
    assert {told(record)["cause"] for record in history.records.values()} == {"padding"}
    assert len(history.records) == 4
    assert len(asked(history)) == 2


def test_passing_trial_asks_the_original_nothing_more(tmp_path: Path) -> None:
    record, history = one(tmp_path, "buckets=[12]")
    assert record.status is Status.OK
    assert asked(history) == []


def test_unpadded_trial_says_nothing_of_padding(tmp_path: Path) -> None:
    """Samples of one size, in a build of that size: the gate's reason stands as it is."""
    same = ["data._target_=tests.support.padding_workloads.whole", "backend.options.fault=wrong_answers"]
    record, history = one(tmp_path, "buckets=[12]", *same)
    assert record.status is Status.REJECTED
    assert "padding" not in record.reason
    assert "padding" not in (record.agreement or {})
    assert asked(history) == []


@pytest.mark.parametrize(("buckets", "lists"), [("[]", None), ("[12]", 1)])
def test_padding_to_the_maximum_is_padding_too(tmp_path: Path, buckets: str, lists: int | None) -> None:
    record, history = one(tmp_path, f"buckets={buckets}", "+model.kind=unmasked")
    is_padding(record)
    (folder,) = asked(history)
    answers = np.load(folder / padded_reference.ANSWERS)
    assert told(record)["samples"] == len(answers["index"])
    assert ("null" in (folder / "request.json").read_text().partition('"shapes": ')[2][:6]) == (lists is None)


def test_padding_side_matters_to_a_model_that_reads_the_end(tmp_path: Path) -> None:
    wrong, _ = one(tmp_path / "right", "buckets=[4,12]", "+model.kind=last")
    assert told(wrong)["cause"] == "padding"
    assert "the same answer to all" in wrong.reason  # which is that to the padding
    right, history = one(tmp_path / "left", "buckets=[4,12]", "+model.kind=last", "model.pad_side=left")
    assert right.status is Status.OK
    assert asked(history) == []


def test_left_padding_is_checked_on_the_left(tmp_path: Path) -> None:
    """A build that is wrong besides: only what is padded on the same side leaves the original's answers as they are."""
    wrong = ["backend.options.fault=wrong_answers", "model.pad_side=left"]
    record, _ = one(tmp_path, "buckets=[4,12]", "+model.kind=last", *wrong)
    assert told(record)["cause"] == "build"
    assert told(record)["original"]["max_abs_error"] == 0


def test_padding_can_make_answers_not_a_number(tmp_path: Path) -> None:
    record, _ = one(tmp_path, "buckets=[12]", "+model.kind=infinite")
    assert record.failure is not None
    assert record.failure.kind is FailureKind.NUMERICAL_ERROR
    assert told(record)["cause"] == "padding"
    assert "NaN or infinity" in record.reason.partition("padding changes")[2]
    assert "may overflow" not in record.reason


def test_crash_of_the_check_adds_a_note_to_the_reason(tmp_path: Path) -> None:
    record, history = one(tmp_path, "buckets=[12]", "+model.kind=crashing")
    assert record.status is Status.REJECTED
    assert "fp32 must reach" in record.reason
    assert "try a wider precision" in record.reason
    assert "whether padding is the cause is not known: asking the original model failed: " in record.reason
    assert "SIGABRT" in record.reason
    assert list(told(record)) == ["failure"]
    assert len(asked(history)) == 1


@pytest.mark.process
def test_sweep_interrupted_during_the_check_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, then resumed: the repeats stand, and the reason is found then."""
    monkeypatch.setenv("STUCK", "1")
    process = start(tmp_path, "buckets=[12]", "+model.kind=stuck", base=BAG)
    try:
        while not [p for p in tmp_path.glob("sweeps/*/padding/*/log.txt") if "stuck" in p.read_text()]:
            assert process.poll() is None
            signal.sigtimedwait([], 0.05)
        os.kill(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            kill_group(process)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    (record,) = ledger.History(ledger.find(tmp_path, "last")).records.values()
    assert record.status is Status.STOPPED
    monkeypatch.delenv("STUCK")
    line = [sys.executable, "-m", "sweep", "resume", "last", "--outputs", str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    history = ledger.History(ledger.find(tmp_path, "last"))
    (record,) = history.records.values()
    is_padding(record)
    assert "measure 1/" not in done.stdout  # nothing was measured again


@pytest.mark.usefixtures("warm_pool")
def test_check_runs_in_the_interpreter_of_the_model(tmp_path: Path) -> None:
    venv.EnvBuilder(symlinks=True).create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    record, history = one(tmp_path / "out", "buckets=[12]", "+model.kind=unmasked", f"+model.python={python}")
    is_padding(record)
    (folder,) = asked(history)
    assert f"loaded by {tmp_path / 'env'}" in (folder / "log.txt").read_text()


@pytest.mark.usefixtures("warm_pool")
def test_dynamic_sizes_pad_within_a_request(tmp_path: Path) -> None:
    lines = ["buckets=dynamic", "batch=1,4", "+model.masked=false,true"]
    _, history = sweep(tmp_path, *lines, base=TORCH)
    found = {(str(r.settings["masked"]), r.settings["batch"]): r for r in history.records.values()}
    assert [found[key].status for key in (("True", 1), ("True", 4), ("False", 1))] == [Status.OK] * 3
    is_padding(found["False", 4])
    (folder,) = asked(history)
    with np.load(folder / padded_reference.ANSWERS) as answers:
        assert len(answers["index"]) < 40  # the largest of each request is not padded


def test_tables_and_why_show_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, _ = one(tmp_path, "buckets=[12]", "+model.kind=unmasked")
    shown = capsys.readouterr().out
    reason = shown[shown.index("wrong_output: ") : shown.index("log: ")]
    assert reason.count("\n") < 9
    assert "correct the mask" in reason
    assert run(["why", "buckets=12", "--outputs", str(tmp_path)]) == 0
    assert record.reason in capsys.readouterr().out
    assert len(record.reason) < 450


# --- real models ------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # a real model; small ones are tested above
@pytest.mark.usefixtures("warm_pool")
@pytest.mark.skipif(find_spec("efficientnet_lite_pytorch") is None, reason="needs the extra 'vision'")
def test_pictures_in_a_larger_frame_are_rejected_for_padding(tmp_path: Path) -> None:
    usual = ["gates.agreement_min.fp32=0.99", "gates.cosine_min.fp32=0.999", "gates.little_tolerance=1.0"]
    base = ["experiment=padding_vs_bucketing", *usual, *QUICK, "effort.repeats=1"]
    _, history = sweep(tmp_path, base=base)
    found = {str(r.settings["buckets"]): r for r in history.records.values()}
    is_padding(found["[[320, 320]]"])
    assert found["[[224, 224]]"].status is found["[[224, 224], [320, 320]]"].status is Status.OK
    assert len(asked(history)) == 1


@pytest.mark.slow  # a real model; small ones are tested above
@pytest.mark.usefixtures("warm_pool")
@pytest.mark.skipif(find_spec("transformers") is None, reason="needs the extra 'text'")
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_texts_without_their_mask_are_rejected_for_padding(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)
    deaf = [
        "model=minilm",
        "model._target_=tests.support.text_workloads.minilm_unmasked",
        "~model.attention",
        "data.count=40",
    ]
    lines = [f"backend={backend}", "buckets=[64,178]", "effort.repeats=1", "gates.little_tolerance=1.0"]
    record, _ = one(tmp_path, *lines, base=[*deaf, *QUICK])
    is_padding(record)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_samples_are_padded_to_their_bucket_or_request() -> None:
    sizes = np.array([[3], [9], [5], [12], [2]])
    every = np.arange(5)
    assert padded_reference.find_padded_sizes([None], sizes, [12], 2, every) is None
    listed = padded_reference.find_padded_sizes([(12,), (4,)], sizes, [12], 2, every)
    assert listed is not None
    assert listed.ravel().tolist() == [4, 12, 12, 12, 4]
    dynamic = padded_reference.find_padded_sizes([()], sizes, [12], 2, every)
    assert dynamic is not None
    assert dynamic.ravel().tolist() == [9, 9, 12, 12, 2]  # the last is alone
    some = padded_reference.find_padded_sizes([()], sizes, [12], 2, np.array([0, 2, 4]))
    assert some is not None
    assert some[[0, 2, 4]].ravel().tolist() == [5, 5, 2]
    wide = padded_reference.find_padded_sizes([(8,), (4, 8)], np.array([[3, 7], [5, 2]]), [8, 8], 1, np.arange(2))
    assert wide is not None
    assert wide.tolist() == [[4, 8], [8, 8]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_worker_pads_as_requests_are_padded(tmp_path: Path, side: str) -> None:
    data = check_dataset(texts(), "mine")
    data_sets.write_data([data], tmp_path / "data")
    assert data.sizes is not None
    shapes = padded_reference.find_padded_sizes([(4,), (12,)], data.sizes, [12], 1, np.arange(len(data.sizes)))
    assert shapes is not None
    items = [7, 1, 30, 12]
    request = {
        "model": {
            "name": "bag",
            "_target_": "tests.support.padding_workloads.model",
            "kind": "unmasked",
            "format": "numpy",
        },
        "data_folder": str(tmp_path / "data"),
        "bucket_dims": DIMS,
        "pad_value": {"input_ids": 3},
        "pad_side": side,
        "items": items,
        "shapes": shapes[items].tolist(),
    }
    assert padded_reference.check(request, tmp_path) == {"samples": 4}
    from tests.support.padding_workloads import model

    padded = Padding.of(request)
    with np.load(tmp_path / padded_reference.ANSWERS) as answers:
        assert answers["index"].tolist() == sorted(items)
        for place, item in enumerate(sorted(items)):
            arrays = batching.fit_samples(data.inputs, np.array([item]), tuple(shapes[item]), padded, data.sizes)
            np.testing.assert_allclose(answers["output_0"][place], model("unmasked")(*arrays)[0], rtol=1e-5)


OWN = np.random.default_rng(0).normal(size=(60, 8))
OTHER = np.random.default_rng(1).normal(size=(60, 8))


@pytest.mark.parametrize(
    ("padded_answers", "build", "cause"),
    [
        (OTHER, OTHER, "padding"),
        (OWN, OTHER, "build"),
        (OTHER, OWN, "both"),
        (OWN * np.nan, OWN * np.nan, "padding"),
        (OWN, OWN * np.nan, "build"),
        (np.ones_like(OWN), np.ones_like(OWN), "padding"),
        (OWN, np.ones_like(OWN), "build"),
        (OWN + 0.02 * OTHER, OWN + 0.021 * OTHER, "padding"),  # neither is rejected alone: what is further off
        (OWN + 0.001 * OTHER, OWN + 0.03 * OTHER, "build"),
    ],
)
def test_cause_follows_from_both_comparisons(padded_answers: Any, build: Any, cause: str) -> None:
    found = padded._compare_both([OWN], [padded_answers], [build], "classification")
    found["cause"] = padded._find_cause(found, "fp32", LIMITS)
    assert found["cause"] == cause
    words = padded._describe_cause(found)
    assert "\n" not in words
    assert len(words) < 350
    assert ("correct the mask" in words) == (cause != "build")


def test_gates_of_answers_agree_with_all_gates() -> None:
    for build in (OWN, OTHER, OWN * np.nan, np.ones_like(OWN)):
        comparison = agreement.compare([OWN], [build])
        alone = gates.answers(comparison, "fp32", LIMITS)
        assert (alone is None) == (build is OWN)
        if alone is not None:
            known = gates.answers(comparison, "fp32", LIMITS, "it was the rain")
            assert known is not None
            assert known.kind is alone.kind
            assert known.summary.endswith("it was the rain")
            assert known.summary.startswith(alone.summary[:60])
    assert gates.answers({}, "fp32", LIMITS) is None
    assert gates.answers(agreement.compare([OWN], [OWN[:, :2]]), "fp32", LIMITS) is None
