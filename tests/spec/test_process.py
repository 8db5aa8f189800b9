"""Settings of the process are a part of what a trial is; the defaults change no identity."""

from dataclasses import replace

from sweep.spec import Trial, from_json, to_json
from sweep.spec.process import Process
from tests.support.records import make_trial

TRIAL = make_trial()


def test_defaults_keep_the_key_of_earlier_versions() -> None:
    stored = to_json(TRIAL)
    del stored["process"]
    assert from_json(Trial, stored).key == TRIAL.key == replace(TRIAL, process=Process()).key


def test_each_setting_makes_another_trial() -> None:
    variants = [Process(), Process(allocator="keep"), Process(omp_wait_policy="active"), Process(gc="off")]
    trials = [replace(TRIAL, process=process) for process in [*variants, Process(denormals="flush")]]
    assert len({trial.key for trial in trials}) == 5
    assert [from_json(Trial, to_json(trial)) for trial in trials] == trials


def test_only_the_wait_policy_needs_a_variable() -> None:
    assert Process(allocator="keep", gc="off", denormals="flush").environment == {}
    assert Process(omp_wait_policy="passive").environment == {"OMP_WAIT_POLICY": "PASSIVE"}
