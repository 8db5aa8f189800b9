"""The contract that every backend keeps. Subclass it in the tests of a backend:

    from my_backend import Blas
    from sweep.testing import BackendContract

    class TestBlas(BackendContract):
        backend = Blas

pytest then builds once in every precision and runs every build in many ways.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from sweep import workloads
from sweep.backends.base import Backend
from sweep.spec import FailureKind, Json, TrialError
from sweep.testing.builds import Built, build, check_refusals, find_imported_frameworks
from sweep.workloads import Dataset

REQUESTS = 100  # whose answers are compared with those of the original, where the data has so many


class BackendContract:
    """Tests of one backend. Set `backend`; the other attributes have values that suit most backends."""

    backend: type[Backend]
    precisions: Sequence[Any] = ()  # to build in, also as `pytest.param(..., marks=...)`; (): all that it has
    model: Json | None = None  # as in a config; None: one that comes with sweep and that the backend takes
    data: Json | Dataset | None = None  # likewise
    options: Mapping[str, Any] = {}  # compile-time options
    compiles = True  # False where nothing is built: there is no artifact, and any shape will do
    relative_error: Mapping[str, float] = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 3e-2, "int8": 0.2}
    """By precision: how far an answer may lie from the original's, relative to the largest of them."""
    same_class: Mapping[str, float] = {"fp32": 1.0}
    """By precision: the share of samples whose largest score must be that of the same class; 0.98 for all others."""
    _builds: ClassVar[dict[str, Built]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "precision" in metafunc.fixturenames:
            metafunc.parametrize("precision", self.precisions or self.backend.precisions)

    def __init_subclass__(cls) -> None:
        cls._builds = {}

    @pytest.fixture
    def built(self, precision: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
        """The build that all tests of one precision share."""
        if self.backend.missing():
            pytest.skip(str(self.backend.missing()))
        for package in self.backend.optional_packages.get(precision, ()):
            pytest.importorskip(package)
        if precision not in self._builds:
            self._builds[precision] = self.build(precision, tmp_path_factory)
        return self._builds[precision]

    def build(self, precision: str, factory: pytest.TempPathFactory) -> Built:
        folder = factory.mktemp(f"{self.backend.name}-{precision}")
        return build(self.backend, precision, folder, model=self.model, data=self.data, options=self.options)

    def test_parent_asks_without_the_framework(self) -> None:
        assert find_imported_frameworks([self.backend]) == []

    def test_refusals_say_what_would_work(self) -> None:
        check_refusals(self.backend, self.options)

    def test_build_has_the_precision_of_the_request(self, built: Built) -> None:
        assert built.backend.supports(built.spec) is None
        assert built.info.precision == built.spec.precision
        assert built.load().precision == built.spec.precision

    def test_answers_agree_with_the_original(self, built: Built, precision: str) -> None:
        runner = built.load()
        count = min(REQUESTS, len(next(iter(built.data.inputs.values()))) // built.spec.batch)
        batches = [built.batch(number) for number in range(count)]
        answers = [runner.outputs(runner.run(runner.prepare(batch))) for batch in batches]
        inputs = tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        reference = workloads.run_reference(workloads.load_model(built.spec.model), inputs)
        assert all(len(answer) == len(reference) for answer in answers)
        for number, wanted in enumerate(reference):
            answer = np.concatenate([arrays[number] for arrays in answers])
            assert answer.dtype == np.float32 or answer.dtype.kind == wanted.dtype.kind == "i"
            assert answer.shape == wanted.shape
            if answer.ndim == 2 and answer.shape[1] > 1:
                agreement = (answer.argmax(1) == wanted.argmax(1)).mean()
                assert agreement >= self.same_class.get(precision, 0.98)
            assert np.abs(answer - wanted).max() / np.abs(wanted).max() < self.relative_error[precision]

    def test_results_stay_valid_after_later_calls(self, built: Built) -> None:
        runner = built.load()
        first, second = runner.prepare(built.batch(0)), runner.prepare(built.batch(1))
        raw = runner.run(first)
        before = runner.outputs(raw)[0].copy()
        others = [runner.outputs(runner.run(second))[0] for _ in range(3)]
        assert np.array_equal(runner.outputs(raw)[0], before)
        assert not np.array_equal(before, others[0])

    def test_build_serves_any_number_of_threads(self, built: Built, precision: str) -> None:
        answers = []
        for threads in (1, 2):
            runner = built.load(threads)
            assert runner.count_threads() in (threads, None)  # as the runtime says, where it does
            answers.append(runner.outputs(runner.run(runner.prepare(built.batch(0))))[0])
            runner.close()
        np.testing.assert_allclose(answers[0], answers[1], rtol=1e-2, atol=1e-1 if precision == "bf16" else 1e-3)

    def test_other_shapes_than_those_built_for_are_refused(self, built: Built) -> None:
        runner = built.load()
        if not self.compiles:
            assert runner.shapes is None
            return
        assert runner.shapes == tuple(array.shape for array in built.batch(0))
        one_more = tuple(np.concatenate([array, array[:1]]) for array in built.batch(0))
        with pytest.raises(TrialError, match=r"built for inputs of shape 2x.*, called with 3x") as caught:
            runner.prepare(one_more)
        assert caught.value.kind is FailureKind.SHAPE_MISMATCH

    def test_artifact_is_whole(self, built: Built) -> None:
        files = [path for path in built.folder.rglob("*") if path.is_file()]
        if not self.compiles:
            assert not files
            assert "none" in built.info.notes["artifact"]
            return
        assert files
        assert all(path.stat().st_size > 0 for path in files)

    def test_damaged_artifact_is_not_taken_for_a_failing_framework(self, built: Built, tmp_path: Path) -> None:
        if not self.compiles:
            return
        with pytest.raises(TrialError, match="the artifact has no ") as caught:
            built.load(folder=tmp_path)
        assert caught.value.kind is FailureKind.ARTIFACT_INCOMPATIBLE
        for path in built.folder.rglob("*"):
            if path.is_file():
                damaged = tmp_path / path.relative_to(built.folder)
                damaged.parent.mkdir(parents=True, exist_ok=True)
                damaged.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(TrialError, match="cannot be loaded") as caught:
            built.load(folder=tmp_path)
        assert caught.value.kind is FailureKind.ARTIFACT_INCOMPATIBLE

    def test_versions_name_the_toolchain(self, built: Built, precision: str) -> None:
        wanted = {*built.backend.packages, *built.backend.optional_packages.get(precision, ())}
        assert wanted <= set(built.info.versions)
        assert set(built.backend.packages) <= set(built.backend.probe()["versions"])
        assert built.spec.device in built.backend.probe()["devices"]
