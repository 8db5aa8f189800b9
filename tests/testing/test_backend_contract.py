"""The contract that plug-ins run fails for a backend that is wrong. For one that is right: docs/adding_a_backend.md."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.backends.base import Arrays, Runner, Source
from sweep.backends.fake import Fake
from sweep.spec import BuildInfo, BuildSpec, Placement
from sweep.testing import BackendContract, Built, build, check_refusals, find_imported_frameworks


class Contract(BackendContract):
    backend = Fake


class Changed(Fake):
    """The fake with something wrong in its build or its runner."""

    change_build: Callable[[BuildInfo, Path], BuildInfo] = staticmethod(lambda info, folder: info)
    change_runner: Callable[[Runner], None] = staticmethod(lambda runner: None)

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        return self.change_build(super().build(source, spec, folder), folder)

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> Runner:
        runner = super().load(folder, spec, placement, source)
        self.change_runner(runner)
        return runner


def change_answers(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    def apply(runner: Any) -> None:
        run = runner.run
        runner.run = lambda request: tuple(change(answer) for answer in run(request))

    return apply


def reuse_memory(runner: Any) -> None:
    run, kept = runner.run, []

    def run_into_the_same_arrays(request: Arrays) -> Arrays:
        answers = run(request)
        if not kept:
            kept.extend(np.empty_like(answer) for answer in answers)
        for array, answer in zip(kept, answers, strict=True):
            array[...] = answer
        return tuple(kept)

    runner.run = run_into_the_same_arrays


def forget_shapes(runner: Any) -> None:
    runner.shapes = None


def leave_empty_file(info: BuildInfo, folder: Path) -> BuildInfo:
    (folder / "notes.txt").touch()
    return info


def build_changed(folder: Path, **changes: Any) -> Built:
    backend = type("Wrong", (Changed,), {name: staticmethod(change) for name, change in changes.items()})
    return build(backend, "fp32", folder, options={"latency_ms": 0.0})


WRONG = {
    "test_build_has_the_precision_of_the_request": {
        "change_build": lambda info, folder: replace(info, precision="fp16")
    },
    "test_answers_agree_with_the_original": {"change_runner": change_answers(lambda answer: answer * 1.001)},
    "test_results_stay_valid_after_later_calls": {"change_runner": reuse_memory},
    "test_other_shapes_than_those_built_for_are_refused": {"change_runner": forget_shapes},
    "test_artifact_is_whole": {"change_build": leave_empty_file},
    "test_versions_name_the_toolchain": {"change_build": lambda info, folder: replace(info, versions={})},
}


def run_contract(name: str, built: Built, tmp_path: Path) -> None:
    test = getattr(Contract(), name)
    parameters = {"built": built, "precision": built.spec.precision, "tmp_path": tmp_path}
    wanted = test.__code__.co_varnames[1 : test.__code__.co_argcount]
    test(**{key: value for key, value in parameters.items() if key in wanted})


@pytest.mark.parametrize("name", WRONG)
def test_contract_fails_for_a_wrong_backend(name: str, tmp_path: Path) -> None:
    run_contract(name, build_changed(tmp_path / "right"), tmp_path / "read")
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_contract(name, build_changed(tmp_path / "wrong", **WRONG[name]), tmp_path / "read")


def test_contract_fails_where_answers_depend_on_threads(tmp_path: Path) -> None:
    def add_threads(runner: Any) -> None:
        loaded.append(runner)
        change_answers(lambda answer: answer + np.float32(len(loaded)))(runner)

    loaded: list[Any] = []
    with pytest.raises(AssertionError):
        run_contract(
            "test_build_serves_any_number_of_threads", build_changed(tmp_path, change_runner=add_threads), tmp_path
        )


def test_contract_fails_where_a_damaged_artifact_loads(tmp_path: Path) -> None:
    class Forgiving(Fake):
        def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> Runner:
            return super().load(whole, spec, placement, source)

    whole = tmp_path / "whole"
    built = build(Forgiving, "fp32", whole, options={"latency_ms": 0.0})
    with pytest.raises(pytest.fail.Exception):
        run_contract("test_damaged_artifact_is_not_taken_for_a_failing_framework", built, tmp_path)


def test_loading_must_not_ask_for_the_original(tmp_path: Path) -> None:
    built = build(Fake, "fp32", tmp_path, options={"latency_ms": 0.0})
    built.load()
    assert any(tmp_path.iterdir())
    built.backend.load = lambda folder, spec, placement, source: source.load_model()
    with pytest.raises(AssertionError, match="must not ask for the original"):
        built.load()


class Silent(Fake):
    """Takes what it cannot do."""

    @classmethod
    def supports(cls, spec: BuildSpec) -> str | None:
        return None


def test_refusals_are_asked_for() -> None:
    check_refusals(Fake)
    with pytest.raises(AssertionError, match="does not refuse"):
        check_refusals(Silent)


class Hasty(Fake):
    """Imports its framework to answer the parent."""

    preload_run = ("html.parser",)

    @classmethod
    def missing(cls) -> str | None:
        import html.parser  # noqa: F401  # any module that nobody else imports does

        return None


@pytest.mark.process
def test_framework_that_the_parent_imports_is_named() -> None:
    assert find_imported_frameworks([Fake]) == []
    assert find_imported_frameworks([Hasty]) == ["html"]
