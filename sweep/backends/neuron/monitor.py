"""What AWS's `neuron-monitor` says about the device while a model is measured.

The tool writes reports into a file, which is read when the measurement is over: this process does nothing meanwhile.
Source: AWS Neuron documentation, "Neuron Monitor User Guide". Worker side, Python 3.8.
"""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from sweep.files import find_neuron_tool
from sweep.isolate.failures import shorten
from sweep.spec import Json

TAG = "NEURON_PROCESS_TAG"  # the runtime reports itself under this name; forked replicas inherit it
GROUPS = ("neuroncore_counters", "memory_used", "execution_stats")
PERIOD = "1s"  # between two reports
STOP_SECONDS = 2.0
MB = float(1 << 20)


class Monitor:
    """Around one repeat: starts the tool before the model is loaded and ends it after the window.

    Nothing that it does can fail the measurement: without the tool, or without a report, it says why.
    Leaves neuron-monitor.conf (the tool's configuration), .jsonl (the reports) and .log (complaints) in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tag = "sweep-%d" % os.getpid()
        self._old_tag: Optional[str] = None
        self._running: Optional["subprocess.Popen[bytes]"] = None
        self._reason = ""

    def __enter__(self) -> "Monitor":
        self._old_tag = os.environ.get(TAG)
        os.environ[TAG] = self._tag
        command = find_neuron_tool("neuron-monitor")
        if command is None:
            self._reason = "neuron-monitor is not installed (aws-neuronx-tools)"
            return self
        try:
            self._start(command)
        except OSError as error:
            self._reason = "neuron-monitor cannot be run: %s" % (error.strerror or error)
        return self

    def __exit__(self, *_: object) -> None:
        if self._old_tag is None:
            os.environ.pop(TAG, None)
        else:
            os.environ[TAG] = self._old_tag
        running, self._running = self._running, None
        if running is not None:
            self._stop(running)

    def __call__(self) -> Json:
        """What the reports say together; call it after the context was left.

        `{"available": False, "reason"}`, or available (with a reason if the tool ended early), samples (reports with a
        runtime of ours), and where known: neuroncore_utilization_percent (core -> mean over the reports in which it was
        in use), device_memory_mb and host_memory_mb (largest), device_latency_ms and total_latency_ms (percentile ->
        mean over the reports, weighted by executions; p0 the least, p100 the largest), executions, and errors (kind ->
        count, where any occurred). Load and warm-up count too: this checks a measurement, it does not replace it.
        """
        reports = list(_read_reports(self.folder / "neuron-monitor.jsonl"))
        if not reports:
            return {"available": False, "reason": self._reason or "neuron-monitor gave no report in its time"}
        ours = [runtimes for runtimes in self._pick_own(reports) if runtimes]
        early = {"reason": self._reason} if self._reason else {}
        facts = {**_utilization(ours), **_memory(ours), **_executions(ours)}
        return {"available": True, **early, "samples": len(ours), **facts}

    def _start(self, command: str) -> None:
        config = self.folder / "neuron-monitor.conf"
        metrics = [{"type": group} for group in GROUPS]
        settings = {
            "period": PERIOD,
            "neuron_runtimes": [{"tag_filter": "^%s$" % self._tag, "metrics": metrics}],
            "system_metrics": [],
        }
        config.write_text(json.dumps(settings))
        nice = shutil.which("nice")  # the measured process goes first
        words = ([nice, "-n", "10"] if nice else []) + [command, "-c", str(config)]
        reports, log = self.folder / "neuron-monitor.jsonl", self.folder / "neuron-monitor.log"
        with reports.open("wb") as output, log.open("wb") as errors:
            self._running = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)

    def _stop(self, running: "subprocess.Popen[bytes]") -> None:
        if running.poll() is not None:
            try:
                complaint = shorten((self.folder / "neuron-monitor.log").read_text(errors="replace"))
            except OSError:
                complaint = ""
            self._reason = "neuron-monitor ended by itself (exit status %d)" % running.returncode
            self._reason += ": %s" % complaint if complaint else ""
            return
        running.terminate()
        try:
            running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            try:
                running.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                pass  # a driver that hangs holds it in the kernel; it dies when the driver lets go

    def _pick_own(self, reports: Sequence[Json]) -> List[List[Json]]:
        """The runtimes of each report that belong to this measurement."""
        everything = [
            [runtime for runtime in _list(report.get("neuron_runtime_data")) if _dict(runtime)] for report in reports
        ]
        own = [
            [runtime for runtime in runtimes if runtime.get("neuron_runtime_tag") == self._tag]
            for runtimes in everything
        ]
        return own if any(own) else everything  # older tools filter by the tag and do not show it


def _read_reports(path: Path) -> Iterator[Json]:
    """The JSON objects of a file, one a line; other lines (a log, the torn last line) are left out."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line.decode("utf-8", "replace"))
                except ValueError:
                    continue
                if isinstance(value, dict):
                    yield value
    except OSError:
        return


def _utilization(reports: Sequence[Sequence[Json]]) -> Json:
    """By core. If two runtimes of one report use a core, their shares are added."""
    seen: Dict[str, List[float]] = {}
    for runtimes in reports:
        now: Dict[str, float] = {}
        for runtime in runtimes:
            cores = _dict(_group(runtime, "neuroncore_counters").get("neuroncores_in_use"))
            for core, facts in cores.items():
                used = _number(_dict(facts).get("neuroncore_utilization"))
                if used is not None:
                    now[core] = now.get(core, 0.0) + used
        for core, used in now.items():
            seen.setdefault(core, []).append(used)
    order = sorted(seen, key=lambda core: (len(core), core))
    return {"neuroncore_utilization_percent": {core: sum(seen[core]) / len(seen[core]) for core in order}}


def _memory(reports: Sequence[Sequence[Json]]) -> Json:
    """The largest sum over the runtimes of a report, if any report has it."""
    largest: Json = {}
    for name, key in (("device_memory_mb", "neuron_device"), ("host_memory_mb", "host")):
        for runtimes in reports:
            used = [_dict(_group(runtime, "memory_used").get("neuron_runtime_used_bytes")) for runtime in runtimes]
            sizes = [size for size in (_number(memory.get(key)) for memory in used) if size is not None]
            if sizes:
                largest[name] = max(largest.get(name, 0.0), sum(sizes) / MB)
    return largest


def _executions(reports: Sequence[Sequence[Json]]) -> Json:
    errors: Dict[str, int] = {}
    executions = 0
    latencies: Dict[str, List[Tuple[float, Mapping[str, Any]]]] = {"device_latency": [], "total_latency": []}
    for runtime in itertools.chain.from_iterable(reports):
        stats = _group(runtime, "execution_stats") or _group(runtime, "inference_stats")  # its name before 2.8
        outcomes = _dict(stats.get("execution_summary"))
        completed = int(_number(outcomes.get("completed")) or 0)
        executions += completed
        wrong = [item for item in outcomes.items() if item[0] != "completed"]
        for kind, times in [*_dict(stats.get("error_summary")).items(), *wrong]:
            if _number(times):
                errors[kind] = errors.get(kind, 0) + int(times)
        for name, weighted in latencies.items():
            weighted.append((float(completed), _dict(_dict(stats.get("latency_stats")).get(name))))
    means = {"%s_ms" % name: _average_percentiles(weighted) for name, weighted in latencies.items()}
    return {"executions": executions, **{name: value for name, value in means.items() if value}, "errors": errors}


def _average_percentiles(reports: Sequence[Tuple[float, Mapping[str, Any]]]) -> Dict[str, float]:
    """Percentiles in milliseconds, from (weight, percentiles in seconds)."""
    values: Dict[str, List[Tuple[float, float]]] = {}
    for weight, report in reports:
        for name, seconds in report.items():
            number = _number(seconds)
            if number is not None:
                values.setdefault(name, []).append((weight, number * 1e3))
    return {name: _average(name, weighted) for name, weighted in values.items()}


def _average(name: str, values: Sequence[Tuple[float, float]]) -> float:
    if name in ("p0", "p100"):
        return (min if name == "p0" else max)(value for _, value in values)
    total = sum(weight for weight, _ in values)
    if not total:
        return sum(value for _, value in values) / len(values)
    return sum(weight * value for weight, value in values) / total


def _group(runtime: Json, name: str) -> Json:
    return _dict(_dict(runtime.get("report")).get(name))


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> List[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> Optional[float]:
    """A finite number, None for everything else; JSON as Python reads it has NaN, and integers beyond any float."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if fits else None
