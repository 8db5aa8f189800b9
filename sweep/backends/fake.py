"""A compiler and a device made of numpy, which fail on request: for tests, and to show what each failure looks like.

It takes models of format `numpy`. Faults of a run look at the repeat's number in the environment variable
SWEEP_REPEAT, counted from 0.
"""

import ctypes
import errno
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np

from sweep.backends import artifact
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.backends.options import Options
from sweep.spec import BuildInfo, BuildSpec, Placement, Trial, UserError, from_json
from sweep.spec.declared import setting

MODEL = "model.npz"
FLOOD_MB = 100
CRASH_AT_REQUEST = 3
FAULTS = {
    "build_raise": "the compiler raises an exception",
    "build_abort": "the compiler ends its own process by SIGABRT",
    "build_segfault": "the compiler reads an address that is not its own",
    "build_memory": "the compiler takes more and more memory",
    "build_hang": "the compiler never returns",
    "build_grandchildren": "the compiler leaves processes behind",
    "build_output_flood": "the compiler prints 100 MB",
    "build_truncated": "the artifact is cut in half after it was written",
    "build_silent_fallback": "the compiler compiles nothing and says that all is well",
    "disk_full": "no space is left while the artifact is written",
    "import_missing": "the compiler's package is not installed",
    "wrong_answers": "every answer is shifted by one class",
    "constant_answers": "answers do not depend on the input",
    "nan_answers": "answers are not numbers",
    "run_raise": "a request raises an exception",
    "run_hang": "a request never returns",
    "run_crash": "the third request ends the process by SIGSEGV",
    "run_crash_third_repeat": "the same, in the third repeat only",
    "run_hang_third_repeat": "a request never returns, in the third repeat only",
}


@dataclass(frozen=True)
class FakeOptions(Options):
    latency_ms: float = setting(0.2, "of one item", compile_time=False)
    overhead_ms: float = setting(0.0, "of one request, on top", compile_time=False)
    unit_ms: float = setting(0.0, "of one item for each element of its bucket, on top", compile_time=False)
    uneven_ms: float = setting(0.0, "of one item where its bucket is no multiple of 8, on top", compile_time=False)
    parallel: float = setting(0.0, "share of the time that more cores shorten", most=1, compile_time=False)
    busy: bool = setting(
        False, "use the processor meanwhile, exact to a microsecond, instead of sleeping", compile_time=False
    )
    stall_ms: float = setting(0.0, "every so often a request takes this much more", compile_time=False)
    stall_every_ms: float = setting(
        1000.0, "how often, by the clock, whether or not requests come", positive=True, compile_time=False
    )
    noise: float = setting(
        0.0, "standard deviation between repeats, as a share; negative: of opposite sign", least=-1, compile_time=False
    )
    build_seconds: float = setting(0.0, "a build sleeps this long")
    dynamic_batch: bool = setting(False, "requests of any number of items, cut into batches", compile_time=False)
    fault: Optional[str] = setting(None, "what goes wrong; null: nothing", choices=tuple(FAULTS))
    fault_when: Optional[Mapping[str, Any]] = setting(
        None, "settings that the fault is limited to, such as {batch: 5}; also precision, bucket, device, cores"
    )
    fault_text: Optional[str] = setting(None, "what `build_raise` and `run_raise` say")
    fault_memory_mb: int = setting(4096, "`build_memory` gives up after this much, where nothing ended it")
    slow: Optional[Mapping[str, Any]] = setting(
        None,
        "{file: PATH, factor: 1.1}: everything takes so much longer in repeats that find this file",
        compile_time=False,
        listed=False,
    )


class Fake(Backend):
    name = "fake"
    options_type = FakeOptions
    options: FakeOptions
    packages = ("numpy",)
    preload_build = ("numpy",)
    preload_run = ("numpy",)
    precisions = ("fp32", "fp16")
    formats = ("numpy",)
    devices = ("cpu",)
    obeys = (*Backend.obeys, "copies")
    concurrent = True  # a device that answers any number of requests side by side, where it sleeps

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        options = from_json(FakeOptions, trial.backend.get("options") or {})
        return None if options.dynamic_batch else super().runs(trial)

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        time.sleep(self.options.build_seconds)
        fault = self._fault(spec)
        print("fake: building %s %s for batch %d" % (spec.model["name"], spec.precision, spec.batch), flush=True)
        if fault in _BUILD_FAULTS:
            _BUILD_FAULTS[fault](self.options)
        path = folder / MODEL
        _save(source.load_model(), source.example, path)
        if fault == "build_truncated":
            os.truncate(str(path), path.stat().st_size // 2)
        placement = 0.0 if fault == "build_silent_fallback" else 1.0
        return BuildInfo(precision=spec.precision, placement=placement, versions=self.versions())

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> "FakeRunner":
        with artifact.reading(folder / MODEL) as path:
            model, shapes = _load(path)
        fault = self._fault(spec, placement)
        return FakeRunner(model, shapes, spec, self._seconds(spec, placement), fault, self.options)

    def _seconds(self, spec: BuildSpec, placement: Placement) -> float:
        """How long a request takes."""
        options, elements = self.options, int(np.prod(spec.bucket or (0,)))
        item_ms = options.latency_ms + options.unit_ms * elements + options.uneven_ms * bool(elements % 8)
        scaled = (item_ms * spec.batch + options.overhead_ms) / 1000.0
        scaled *= (1.0 - options.parallel) + options.parallel / max(1, placement.threads)
        if options.slow and os.path.exists(str(options.slow["file"])):  # noqa: PTH110  # as cheap as it gets
            scaled *= float(options.slow["factor"])
        if options.noise:
            scaled *= max(0.1, 1.0 + options.noise * np.random.RandomState(_repeat() + 1).standard_normal())
        return scaled

    def _fault(self, spec: BuildSpec, placement: Optional[Placement] = None) -> Optional[str]:
        """The fault of this build or run; None if `fault_when` names other settings."""
        for key, wanted in (self.options.fault_when or {}).items():
            if key == "cores":  # of a run
                have: Any = placement.threads if placement is not None else None
            elif hasattr(spec, key):
                have = getattr(spec, key)
            else:
                raise UserError("backend.options.fault_when: %s is no setting of a build" % key)
            if (list(have) if isinstance(have, tuple) else have) != wanted:
                return None
        return self.options.fault


class FakeRunner(Runner):
    """Answers with the stored model, after the time that a request should take."""

    def __init__(
        self,
        model: Callable[..., Any],
        shapes: Tuple[Tuple[int, ...], ...],
        spec: BuildSpec,
        seconds: float,
        fault: Optional[str],
        options: FakeOptions,
    ) -> None:
        self.precision = spec.precision
        self.shapes = None if options.dynamic_batch else shapes
        self._model = model
        self._dtype = np.float16 if spec.precision == "fp16" else np.float32
        self._seconds = seconds
        self._batch = spec.batch
        self._options = options
        self._fault = fault
        self._requests = 0
        self._stalled = time.perf_counter()

    def run(self, request: Arrays) -> Any:
        begin = time.perf_counter()
        self._requests += 1
        self._fail()
        raw = self._model(*(a.astype(self._dtype, copy=False) if a.dtype.kind == "f" else a for a in request))
        answers = tuple(np.asarray(a, np.float32) for a in (raw if isinstance(raw, (tuple, list)) else (raw,)))
        answers = tuple(self._spoil(array) for array in answers)
        seconds = self._seconds * -(-len(request[0]) // self._batch)  # one batch after the other
        seconds += self._stall_seconds(begin)
        left = seconds - (time.perf_counter() - begin)
        if not self._options.busy and left > 0:
            time.sleep(left)
        while self._options.busy and time.perf_counter() - begin < seconds:
            pass
        return answers

    def _stall_seconds(self, now: float) -> float:
        """The delay of this request; when there is one depends on the clock alone, as when a machine is held up."""
        every = self._options.stall_every_ms / 1000.0
        if not self._options.stall_ms or now < self._stalled + every:
            return 0.0
        self._stalled += every * ((now - self._stalled) // every)
        return self._options.stall_ms / 1000.0

    def _fail(self) -> None:
        if self._fault == "run_raise":
            raise RuntimeError(self._options.fault_text or "fake device: a request failed")
        if self._fault == "run_hang" or (self._fault == "run_hang_third_repeat" and _repeat() == 2):
            threading.Event().wait()
        crash = self._fault == "run_crash" or (self._fault == "run_crash_third_repeat" and _repeat() == 2)
        if crash and self._requests >= CRASH_AT_REQUEST:
            os.kill(os.getpid(), signal.SIGSEGV)

    def _spoil(self, array: np.ndarray) -> np.ndarray:
        if self._fault == "wrong_answers":
            return np.roll(array, 1, axis=-1)
        if self._fault == "constant_answers":
            return np.ones_like(array)
        if self._fault == "nan_answers":
            return np.full_like(array, np.nan)
        return array


def _save(model: Any, example: Arrays, path: Path) -> None:
    """Store the model's attributes, the name of its class, and the shapes that it is built for."""
    kind = type(model)
    entries: Dict[str, Any] = {name: np.asarray(value) for name, value in vars(model).items()}
    entries["class:%s:%s" % (kind.__module__, kind.__qualname__)] = np.zeros(0)
    for number, array in enumerate(example):
        entries["shape:%d" % number] = np.array(array.shape)
    with open(str(path), "wb") as file:
        np.savez(file, **entries)


def _load(path: Path) -> Tuple[Any, Tuple[Tuple[int, ...], ...]]:
    with open(str(path), "rb") as file, np.load(file, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
    (marker,) = [name for name in values if name.startswith("class:")]
    del values[marker]
    _, module, name = marker.split(":")
    sizes = [values.pop(key) for key in sorted(values) if key.startswith("shape:")]
    model = getattr(importlib.import_module(module), name)(**values)
    return model, tuple(tuple(int(size) for size in shape) for shape in sizes)


def _repeat() -> int:
    return int(os.environ.get("SWEEP_REPEAT", "0") or 0)


def _raise(options: FakeOptions) -> None:
    raise RuntimeError(options.fault_text or "fake compiler: it does not work")


def _memory(options: FakeOptions) -> None:
    """Take memory in steps that a watchdog can follow, and use it."""
    step = 32
    taken: List[bytes] = []
    while len(taken) * step < options.fault_memory_mb:
        taken.append(b"\xff" * (step << 20))
        time.sleep(0.005)
    raise MemoryError("fake compiler: %d MB were not enough" % (len(taken) * step))


def _grandchildren(options: FakeOptions) -> None:
    """Start processes that outlive this one and keep its output open. They end by themselves after ten minutes."""
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        print("fake: grandchild %d" % child.pid, flush=True)
        child.returncode = 0  # it is left behind on purpose: no warning when the object is deleted


def _flood(options: FakeOptions) -> None:
    line = b"fake compiler: working on it, and telling you at length\n"
    block = line * ((1 << 20) // len(line) + 1)
    for _ in range(FLOOD_MB):
        sys.stdout.flush()
        os.write(1, block[: 1 << 20])


def _disk_full(options: FakeOptions) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), MODEL)


_BUILD_FAULTS: Mapping[Optional[str], Callable[[FakeOptions], Any]] = {
    "build_raise": _raise,
    "build_abort": lambda _: os.abort(),
    "build_segfault": lambda _: ctypes.string_at(0),
    "build_memory": _memory,
    "build_hang": lambda _: threading.Event().wait(),
    "build_grandchildren": _grandchildren,
    "build_output_flood": _flood,
    "disk_full": _disk_full,
    "import_missing": lambda _: importlib.import_module("fake_compiler_sdk"),
}
