"""One build of a backend, made and loaded as workers do it; and the questions of a parent to a backend's class."""

import functools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sweep import workloads
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.spec import BuildInfo, BuildSpec, Json, Placement
from sweep.workloads import Dataset

BATCH = 2
DIGITS: Json = {"name": "digits", "_target_": "sweep.workloads.digits.network", "format": "module"}
IMAGES: Json = {"name": "digits", "_target_": "sweep.workloads.digits.images"}
LINEAR: Json = {"name": "tiny", "_target_": "sweep.workloads.tiny.linear", "format": "numpy"}
FEATURES: Json = {"name": "tiny", "_target_": "sweep.workloads.tiny.samples"}

_load_data = functools.cache(lambda target: workloads.load_data({"name": "data", "_target_": target}))


class Built(NamedTuple):
    """A build in its folder, with what it was made from."""

    backend: Backend
    spec: BuildSpec
    info: BuildInfo
    folder: Path
    source: Source
    data: Dataset

    def load(self, threads: int = 1, folder: Path | None = None) -> Runner:
        """One replica, from this folder or from another. With an artifact, the original must not be loaded."""
        folder = folder or self.folder
        has_artifact = any(self.folder.iterdir())
        source = self.source._replace(load_model=_refuse_original) if has_artifact else self.source
        return self.backend.load(folder, self.spec, Placement(threads=threads), source)

    def batch(self, number: int) -> Arrays:
        """The inputs of one request."""
        rows = slice(number * self.spec.batch, (number + 1) * self.spec.batch)
        return tuple(np.ascontiguousarray(array[rows]) for array in self.data.inputs.values())


def choose_workload(backend: type[Backend]) -> tuple[Json, Json]:
    """A model that comes with sweep and that this backend takes, and data for it."""
    if "module" in backend.formats:
        return DIGITS, IMAGES
    if "numpy" in backend.formats:
        return LINEAR, FEATURES
    raise ValueError(
        f"sweep has no model for {backend.name}, which takes {', '.join(backend.formats)}: set model and data"
    )


def describe_build(
    backend: type[Backend],
    precision: str,
    *,
    model: Json | None = None,
    data: Json | Dataset | None = None,
    options: Mapping[str, Any] | None = None,
    batch: int = BATCH,
    **rest: Any,
) -> tuple[BuildSpec, Source, Dataset]:
    """What to build, and from what: `model` and `data` are those of a config, `rest` goes to the BuildSpec."""
    default_model, default_data = choose_workload(backend) if model is None or data is None else (model, data)
    model, data = model or default_model, data or default_data
    loaded = data if isinstance(data, Dataset) else _load_data(data["_target_"])
    named = {"name": "data"} if isinstance(data, Dataset) else data
    spec = BuildSpec(
        model, named, backend.name, options or {}, precision, batch, **{"device": backend.devices[0], **rest}
    )
    return spec, _source(model, loaded, batch), loaded


def build(backend: type[Backend], precision: str, folder: Path, **choices: Any) -> Built:
    """Build into `folder`; for `choices` see `describe_build`."""
    spec, source, data = describe_build(backend, precision, **choices)
    folder.mkdir(parents=True, exist_ok=True)
    builder = backend(spec.options)
    return Built(builder, spec, builder.build(source, spec, folder), folder, source, data)


def _source(model: Json, data: Dataset, batch: int) -> Source:
    def calibration() -> Iterator[Arrays]:
        samples = tuple(data.calibration.values())
        for begin in range(0, len(samples[0]) - batch + 1, batch):
            yield tuple(array[begin : begin + batch] for array in samples)

    example = tuple(array[:batch] for array in data.inputs.values())
    return Source(lambda: workloads.load_model(model), example, calibration, tuple(data.inputs))


def _refuse_original() -> Any:
    raise AssertionError("a backend with an artifact must not ask for the original when it loads")


def check_refusals(backend: type[Backend], options: Mapping[str, Any] | None = None) -> None:
    """Checks that a request that cannot work is refused in one line that says what would.

    Args:
        options: compile-time options with which the backend takes its first precision, device and format.
    """
    precision, device = backend.precisions[0], backend.devices[0]
    good = BuildSpec({"format": backend.formats[0]}, {}, backend.name, options or {}, precision, 1, device=device)
    assert backend.supports(good) is None
    for bad, words in (
        (replace(good, precision="int3"), f"{backend.name} has no int3: it has {precision}"),
        (replace(good, device="tpu"), f"{backend.name} has no device tpu: it has {device}"),
        (replace(good, model={"format": "gguf"}), f"{backend.name} takes no model of format gguf: it takes "),
    ):
        reason = backend.supports(bad)
        assert reason is not None, f"{backend.name} does not refuse {bad}"
        assert reason.startswith(words)
        assert "\n" not in reason


def find_imported_frameworks(backends: Iterable[type[Backend]], frameworks: Iterable[str] = ()) -> list[str]:
    """Frameworks that another process imports when it asks these classes what a parent asks; there must be none.

    Args:
        backends: to ask.
        frameworks: to look for, beside those that the backends have workers import ahead.
    """
    classes = list(backends)
    ahead = {module for backend in classes for module in (*backend.preload_build, *backend.preload_run)}
    wanted = ({module.partition(".")[0] for module in ahead} | set(frameworks)) - {"numpy", "sweep"}
    questions = [(backend.__module__, backend.__qualname__, (*backend.formats, "module")[0]) for backend in classes]
    code = f"""
import importlib, json, sys
sys.path[:] = {sys.path!r}
from sweep.spec import BuildSpec
for module, name, format in {questions!r}:
    backend = getattr(importlib.import_module(module), name)
    for precision in backend.precisions:
        backend.supports(BuildSpec({{"format": format}}, {{}}, backend.name, {{}}, precision, 1))
        backend.versions(precision)
    backend.missing()
print(json.dumps(sorted(set(sys.modules) & set({sorted(wanted)!r}))))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    imported: list[str] = json.loads(result.stdout.splitlines()[-1])
    return imported
