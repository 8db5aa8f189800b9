"""Trials that cannot be ones of a model, once the original has been asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from sweep.engine import references
from sweep.engine.references import Reference
from sweep.spec import FailureKind
from sweep.spec.settings import Gates
from sweep.verdict import gates
from tests.support.records import make_trial

PLAIN = Reference("model", "data", "", Path(), Path())


def test_a_model_of_int8_is_run_as_it_is_and_not_quantised_twice() -> None:
    made = replace(PLAIN, weights="int8")
    assert references.explain_misfit(make_trial(precision="fp32"), made) is None
    words = "is int8 already, and is not quantised twice: precision=fp32 runs it as it is"
    assert words in (references.explain_misfit(make_trial(precision="int8"), made) or "")
    assert references.explain_misfit(make_trial(precision="int8"), replace(PLAIN, weights="bf16")) is None


@pytest.mark.parametrize(("precision", "original", "fits"), [("int8", "int8", True), ("int8", "", False)])
def test_what_an_original_of_int8_runs_is_no_other_precision(precision: str, original: str, fits: bool) -> None:
    evidence = gates.Evidence((), {}, [{"precision": precision}], "fp32", Gates(), None, None, original=original)
    failure = gates.precision(evidence)
    assert (failure is None) == fits
    assert fits or (failure is not None and failure.kind is FailureKind.UNSUPPORTED_DTYPE)


def test_a_batch_that_the_model_fixes_is_named_unless_the_file_can_be_reshaped() -> None:
    fixed = replace(PLAIN, batch=4)
    assert references.explain_misfit(make_trial(batch=4), fixed) is None
    reason = references.explain_misfit(make_trial(batch=1), fixed) or ""
    assert reason.endswith("takes 4 samples at once and no other number: use batch=4")
    file = make_trial(batch=1, backend="openvino")
    assert references.explain_misfit(replace(file, model={**file.model, "format": "onnx"}), fixed) is None
