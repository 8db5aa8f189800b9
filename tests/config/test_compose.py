"""Declaring: what composes, what is refused and in which words, and that the fast way gives what Hydra gives."""

import itertools
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sweep.config import command_line, compose, schema
from sweep.config.axes import expand
from sweep.hardware import rules
from sweep.hardware.host import detect
from sweep.spec import Status, Trial, UserError, nearest
from sweep.spec.settings import PRECISIONS, Effort, Gates, Objective
from tests.support.planning import plan_trials
from tests.support.running import ROOT

FAKE = ["model=tiny", "backend=fake"]


@lru_cache(maxsize=1)
def shared() -> compose.Composer:
    """One composer for all tests that only read: what it remembers must not matter."""
    return compose.Composer(compose.make_loader())


def trials(*arguments: str) -> list[Trial]:
    return shared().trials(expand(list(arguments), shared()))


def everything(composer: compose.Composer, *arguments: str) -> None:
    """All that a sweep asks of declaring."""
    jobs = expand(arguments, composer)
    composer.trials(jobs)
    composer.settings(jobs)


def complaint(*arguments: str) -> str:
    """The one line that these arguments are refused with."""
    with pytest.raises(UserError) as caught:
        everything(shared(), *arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line


# --- precision=auto

PUBLISHED = ("model=resnet50_keras", "backend=tensorflow_neuron", "hardware=inf1_xlarge", "batch=1,5", "cores=1,4")


def test_fp32_by_auto_is_the_same_trial_as_fp32() -> None:
    by_default, auto, fp32 = (trials(*FAKE, *more)[0] for more in ((), ("precision=auto",), ("precision=fp32",)))
    assert by_default.key == auto.key == fp32.key
    assert by_default.label == auto.label == "tiny-fake-fp32-b1-c1"


@pytest.mark.parametrize(
    ("backend", "hardware", "precision"),
    [
        ("tensorflow_neuron", "inf1_xlarge", "bf16"),
        ("neuron", "inf1_6xlarge", "bf16"),
        ("neuron", "local", "bf16"),
        ("neuronx", "inf2_xlarge", "fp32"),
        ("tensorflow_neuronx", "trn1_2xlarge", "fp32"),
        ("torch", "inf1_xlarge", "fp32"),  # on the CPUs of that machine
        ("torch", "g4dn_xlarge", "fp32"),
        ("replay", "inf1_xlarge", "bf16"),
        ("replay", "c5_2xlarge", "fp32"),
    ],
)
def test_auto_is_fp32_or_what_the_compiler_makes_of_it(backend: str, hardware: str, precision: str) -> None:
    composer = compose.Composer(compose.make_loader())
    model = "model=resnet50_keras" if backend != "torch" else "model=digits"
    (trial,) = composer.trials([[model, f"backend={backend}", f"hardware={hardware}"]])
    assert trial.precision == trial.settings["precision"] == precision
    said = [f"{backend} has no fp32 on {hardware}, so precision=auto is bf16"] if precision == "bf16" else []
    assert composer.remarks() == said
    assert composer.remarks() == []


def test_published_command_is_refused_by_no_rule() -> None:
    plan = plan_trials(*PUBLISHED)
    assert [entry.status for entry in plan.entries] == [Status.UNAVAILABLE] * 4  # this is no inf1.xlarge
    assert all("tensorflow_neuron-bf16" in entry.trial.label for entry in plan.entries)
    by_hand = plan_trials(*PUBLISHED, "precision=fp32")
    assert [entry.status for entry in by_hand.entries] == [Status.INVALID] * 4
    assert by_hand.entries[0].reason == "inf1_xlarge has no fp32: it has bf16, fp16; or use precision=auto"


def test_auto_beside_what_it_stands_for_is_one_trial() -> None:
    plan = plan_trials(*FAKE, "precision=auto,fp32,fp16")
    assert [entry.trial.precision for entry in plan.entries] == ["fp32", "fp16"]
    assert plan.duplicates == 1


# --- defaults


def test_defaults_are_the_documented_ones() -> None:
    trial = shared().trial([])
    assert trial.settings == {
        "model": "digits", "data": "digits", "hardware": "local", "backend": "onnxruntime", "precision": "fp32",
        "batch": 1, "request_batch": 1, "cores": 1, "replicas": 1, "buckets": [],
    }  # fmt: skip
    assert trial.load == {"name": "saturate", "concurrency": 1}
    made = shared().settings([[]])
    assert made.name == "digits"
    assert made.effort == Effort("normal", 5, 2.0, 30, 0.3, 5.0)
    assert made.objective == Objective("max_throughput", "throughput_items_per_s", True)
    assert made.gates == Gates(
        agreement_min={"fp32": 0.99, "bf16": 0.95, "fp16": 0.95, "int8": 0.80},
        cosine_min={"fp32": 0.999, "bf16": 0.99, "fp16": 0.99, "int8": 0.95},
        relative_error_max={"fp32": 0.05, "bf16": 0.2, "fp16": 0.05, "int8": 0.75},
    )
    assert made.tracking["name"] == "local"
    assert (made.plan, made.report, made.reuse, made.retry_failed, made.seed) == ("run", "html", False, False, 0)


def test_the_page_is_no_part_of_what_a_trial_is() -> None:
    assert [trial.key for trial in trials("report=none")] == [trial.key for trial in trials("report=html")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("quick", Effort("quick", 3, 0.5, 20, 0.1, 2.0)), ("thorough", Effort("thorough", 10, 5.0, 100, 1.0, 20.0))],
)
def test_efforts(name: str, expected: Effort) -> None:
    assert compose.load_settings([f"effort={name}"]).effort == expected


@pytest.mark.parametrize(
    ("name", "metric", "maximize"),
    [("min_latency", "latency_ms_p50", False), ("min_cost", "usd_per_million_items", False)],
)
def test_objectives(name: str, metric: str, maximize: bool) -> None:
    made = compose.load_settings([f"objective={name}", "objective.latency_ms_p99_max=20"]).objective
    assert (made.name, made.metric, made.maximize, made.latency_ms_p99_max) == (name, metric, maximize, 20.0)


def test_every_declared_hardware_composes() -> None:
    for declared in compose.load_hardware_types():
        trial = shared().trial([f"hardware={declared['name']}"])
        assert trial.hardware["name"] == declared["name"]
        assert trial.hardware["cores"] >= 1
        assert set(trial.hardware["peak_flops"]) == set(PRECISIONS)


def test_outputs_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert compose.load_settings(["outputs=here"]).outputs == str(tmp_path / "here")


def test_paths_of_files_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert trials("model=onnx", "model.path=my.onnx", "data=tiny")[0].model["path"] == str(tmp_path / "my.onnx")


def test_the_name_is_the_model_or_says_that_there_are_several() -> None:
    assert shared().settings([["model=tiny"]]).name == "tiny"
    assert shared().settings([["model=tiny"], ["model=digits"]]).name == "several_models"
    assert shared().settings([["model=tiny", "name=mine"]]).name == "mine"


def test_data_follow_the_model_unless_chosen() -> None:
    assert [trial.data["name"] for trial in trials("model=tiny,digits")] == ["tiny", "digits"]
    assert [trial.data["name"] for trial in trials("model=tiny", "data=digits")] == ["digits"]


def test_replicas_auto_fill_the_cores() -> None:
    cores = detect().cores
    found = trials("replicas=auto", f"cores=1,{cores}")
    assert [trial.replicas for trial in found] == [cores, 1]
    assert trials("replicas=auto", "hardware=c5_2xlarge", "cores=2")[0].replicas >= 2


def test_buckets_are_tuples_in_one_order() -> None:
    assert [trial.buckets for trial in trials("buckets=[128,64,128],[[64,32],[128,32]]")] == [
        ((64,), (128,)),
        ((64, 32), (128, 32)),
    ]


# --- what is refused, and in which words


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("bathc=1", "no key 'bathc': did you mean 'batch'?"),
        ("bathc=1,2", "no key 'bathc': did you mean 'batch'?"),
        ("effort.repeat=3", "no key 'effort.repeat': did you mean 'effort.repeats'?"),
        ("objective.agrement_min=0.9", "did you mean 'objective.agreement_min'?"),
        ("gates.agreement_min.fp23=0.9", "did you mean 'gates.agreement_min.fp32'?"),
        ("limits.build_second=9", "did you mean 'limits.build_seconds'?"),
        ("tracking.url=x", "did you mean 'tracking.uri'?"),
        ("backend.optoins.x=1", "no key 'backend.optoins': did you mean 'backend.options'?"),
        (
            "backend.options.latncy_ms=1",
            "no key 'backend.options.latncy_ms': did you mean 'backend.options.latency_ms'?",
        ),
        (
            "+backend.options.latncy_ms=1",
            "no key 'backend.options.latncy_ms': did you mean 'backend.options.latency_ms'?",
        ),
        ("backend.options.latency_ms=-1", "backend.options.latency_ms must be a number >= 0, not -1"),
        ("backend.options.parallel=2", "backend.options.parallel must be a number from 0 to 1, not 2"),
        ("backend.options.fault=run_crush", "not 'run_crush': did you mean 'run_crash'?"),
        ("backend.options.latency_ms=null", "backend.options.latency_ms must be a number >= 0, not None"),
        ("+backend.ladder=[{fualt:null}]", "no key 'backend.ladder.fualt': did you mean 'backend.ladder.fault'?"),
        ("+backend.ladder=[{build_seconds:long}]", "backend.ladder.build_seconds must be a number >= 0, not 'long'"),
        ("+backend.ladder=[no]", "backend.ladder must be a list of options to try like [{optlevel:1}], not ['no']"),
        (
            "deployment.members=[1,2]",
            "deployment.members must be a list like [{cores:2},{cores:1,replicas:2}], not [1, 2]",
        ),
        ("model.seeed=1", "did you mean 'model.seed'?"),
        ("data.cuont=1", "did you mean 'data.count'?"),
        ("model=tinny", "no model 'tinny': did you mean 'tiny'? (here: "),
        ("model=tinny,digits", "no model 'tinny': did you mean 'tiny'?"),
        ("backend=onnxruntme", "no backend 'onnxruntme': did you mean 'onnxruntime'?"),
        ("experiment=quick_tuor", "no experiment 'quick_tuor': did you mean 'quick_tour'?"),
        ("hardware=inf2", "no hardware 'inf2': did you mean 'inf2_xlarge'?"),
        ("batch=0", "batch must be an integer >= 1, not 0"),
        ("batch=1,0", "batch must be an integer >= 1, not 0"),
        ("batch=true", "batch must be an integer >= 1, not True"),
        ("batch=1.5", "batch must be an integer >= 1, not 1.5"),
        ("batch=", "batch must be an integer >= 1, not ''"),
        ("batch=[1", "cannot read 'batch=[1'"),
        ("cores=abc", "cores must be an integer >= 1, not 'abc'"),
        ("replicas=some", "replicas must be an integer >= 1 or auto, not 'some'"),
        ("precision=fp8", "precision must be one of fp32, bf16, fp16, int8, auto, not 'fp8'"),
        ("precision=bf61", "did you mean 'bf16'?"),
        ("buckets=128,224", "buckets must be a list like [128,224], auto or dynamic, not 128"),
        ("buckets=[64,[1,2]]", "same number of dimensions"),
        ("buckets=[0]", "buckets must be an integer >= 1, not 0"),
        ("load.concurrency=0", "load.concurrency must be an integer >= 1, not 0"),
        ("effort.repeats=0", "effort.repeats must be an integer >= 1, not 0"),
        ("effort.window_seconds=long", "effort.window_seconds must be a number >= 0.01, not 'long'"),
        ("objective.agreement_min=2", "objective.agreement_min must be a number from 0 to 1, not 2"),
        ("objective.metric=speed", "objective.metric must be one of capacity_items_per_s, throughput_items_per_s, "),
        ("gates.agreement_min.int8=8", "gates.agreement_min.int8 must be a number from 0 to 1, not 8"),
        ("plan=onyl", "plan must be one of run, only, build, measure, not 'onyl': did you mean 'only'?"),
        ("reuse=maybe", "reuse must be true or false, not 'maybe'"),
        ("seed=-1", "seed must be an integer >= 0, not -1"),
        ("backend.options.busy=maybe", "backend.options.busy must be true or false, not 'maybe'"),
        ("model.features=many", "model.features must be a number, not 'many'"),
        ("model.requires=torch", "model.requires must be a list like [1,2], not 'torch'"),
        ("+model.seed=1", "model.seed is there already: leave out the +"),
        ("+new_thing=1", "no key 'new_thing'"),
        ("model.seed.more=1", "model.seed is 0, which has no parts"),
        ("backend={name:x}", "to set a part of it say backend.part=value"),
        ("model.data=tiny", "say data=... to choose one"),
        ("~batch", "no value for 'batch'"),
        ("effort=quick,normal", "effort is set once a sweep; the axes are model, data, "),
        ("seed=1,2", "seed is set once a sweep"),
        ("batch=interval(1,5)", "batch=interval(...) has no end of values"),
        ("batch=range(5,1)", "batch=range(5,1) has no values"),
        ("model=glob(zz*)", "no model matches zz*: choose from "),
        ("axes.batch=[1,2]", "no key 'axes.batch'"),
        ("+axes.batch=7", "axes.batch must be a list of values like [1,2], not 7"),
        ("+axes.seed=[1,2]", "seed is set once a sweep"),
        ("+axes.bathc=[1,2]", "no key 'bathc'"),
        ("combinations=[1,2]", "combinations must be a list like "),
        ("combinations=[{bathc:1}]", "no key 'bathc'"),
        ("combinations=[{effort:quick}]", "effort is set once a sweep"),
        ("model.seed=${nothing.here}", "in 'model': Interpolation key 'nothing.here' not found"),
        ("batch=range(1,100000) cores=range(1,9)", "more than 100,000: narrow the axes"),
    ],
)
def test_bad_input_is_one_clear_line(argument: str, words: str) -> None:
    assert words in complaint(*FAKE, *argument.split(" "))


def test_a_key_both_typed_and_in_typed_combinations_is_refused() -> None:
    assert "'batch' stands both" in complaint("combinations=[{batch:1},{batch:2}]", "batch=3")


def test_nearest() -> None:
    assert nearest("bathc", ["cores", "batch", "buckets"]) == "batch"
    assert nearest("x", []) == ""


# --- what may be swept


def test_hydra_sweep_syntax() -> None:
    assert [trial.batch for trial in trials("batch=range(1,6,2)")] == [1, 3, 5]
    assert [trial.batch for trial in trials("batch=choice(4,1)")] == [4, 1]
    assert [trial.model["name"] for trial in trials("model=glob(t*y)", "data=tiny")] == ["tiny"]
    assert len(expand(["model=glob(*)"], shared())) == len(shared().options("model"))
    assert [trial.backend["options"]["latency_ms"] for trial in trials(*FAKE, "backend.options.latency_ms=1,2.5")] == [
        1,
        2.5,
    ]
    assert [trial.model["extra_layers"] for trial in trials(*FAKE, "+model.extra_layers=1,2")] == [1, 2]


values = st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({}, optional={"batch": values, "cores": values, "replicas": values}), values)
def test_expansion_is_the_product(axes: dict[str, list[int]], combined: list[int]) -> None:
    typed = [f"{key}={','.join(map(str, numbers))}" for key, numbers in axes.items()]
    listed = "combinations=[" + ",".join(f"{{load.concurrency:{n}}}" for n in combined) + "]"
    jobs = expand([*FAKE, *typed, listed], shared())
    expected = itertools.product(*axes.values(), combined)
    names = [*axes, "load.concurrency"]
    assert jobs == [[*FAKE, *(f"{n}={v}" for n, v in zip(names, row, strict=True))] for row in expected]


texts = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8)
numbers = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts, lambda item: st.lists(item, max_size=3), max_leaves=5
)


@hypothesis_settings(max_examples=60, deadline=None)
@given(json_values)
def test_values_of_experiment_files_survive_the_override_grammar(value: Any) -> None:
    from sweep.config.overrides import format_value

    read = shared().parse(f"model.x={format_value(value)}").value()
    assert read == value
    assert type(read) is type(value)


# --- experiments, other folders


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., compose.Composer]:
    """A composer over our configs and a folder of the user's, written from {path: text}."""

    def made(files: dict[str, str], *hydra_overrides: str, searchpath: bool = False) -> compose.Composer:
        folder = tmp_path / "conf"
        for name, text in files.items():
            path = folder / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if searchpath:
            return compose.Composer(compose.make_loader(), [f"hydra.searchpath=[file://{folder}]"])
        return compose.Composer(compose.make_loader(str(folder)))

    return made


EXPERIMENT = """# @package _global_
defaults:
  - override /model: tiny
  - override /backend: fake
  - override /effort: quick
axes:
  batch: [1, 8]
  backend.options.latency_ms: [0.5, 1.0]
  cores: range(1,3)
combinations:
  - {precision: fp32, replicas: 1}
  - {precision: int8, replicas: auto}
"""


def declared(composer: compose.Composer, *arguments: str) -> list[Trial]:
    return composer.trials(expand(arguments, composer))


@pytest.mark.parametrize("name", ["experiment=mine", "+experiment=mine"])
def test_experiments_declare_axes_and_combinations(own: Callable[..., compose.Composer], name: str) -> None:
    composer = own({"experiment/mine": EXPERIMENT})
    found = declared(composer, name)
    assert len(found) == len({trial.key for trial in found}) == 2 * 2 * 2 * 2
    assert {trial.model["name"] for trial in found} == {"tiny"}
    seen = {(trial.batch, trial.cores, trial.precision) for trial in found}
    assert seen == set(itertools.product((1, 8), (1, 2), ("fp32", "int8")))
    assert composer.settings(expand([name], composer)).effort.name == "quick"


def test_the_command_line_wins_over_an_experiment(own: Callable[..., compose.Composer]) -> None:
    composer = own({"experiment/mine": EXPERIMENT})
    found = declared(composer, "experiment=mine", "batch=3,4,5", "precision=bf16", "effort=thorough")
    assert {trial.batch for trial in found} == {3, 4, 5}
    assert {trial.precision for trial in found} == {"bf16"}
    assert len(found) == 3 * 2 * 2 * 2  # replicas 1 and auto are still declared
    alone = declared(
        composer,
        "experiment=mine",
        "batch=1",
        "backend.options.latency_ms=1.0",
        "cores=1",
        "precision=fp32",
        "replicas=1",
    )
    assert len(alone) == 1


def test_a_trial_declared_alone_is_the_same_again(own: Callable[..., compose.Composer]) -> None:
    composer = own({"experiment/mine": EXPERIMENT})
    for trial in composer.trials(expand(["experiment=mine"], composer)):
        again = declared(composer, *trial.overrides)
        assert [other.key for other in again] == [trial.key]


def test_several_experiments_each_have_their_own_axes(own: Callable[..., compose.Composer]) -> None:
    composer = own(
        {
            "experiment/one": "# @package _global_\naxes: {batch: [1, 2]}",
            "experiment/two": "# @package _global_\naxes: {cores: [1, 2, 3]}",
        }
    )
    assert [(trial.batch, trial.cores) for trial in declared(composer, "experiment=one,two")] == [
        (1, 1),
        (2, 1),
        (1, 1),
        (1, 2),
        (1, 3),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batchs: 3", "no key 'batchs': did you mean 'batch'? (in experiment 'bad')"),
        ("effort: {repeets: 3}", "no key 'effort.repeets': did you mean 'effort.repeats'?"),
        ("axes: {batch: 3}", "axes.batch must be a list of values"),
        ("axes: {batch: []}", "axes.batch must be a list of values"),
        ("axes: {batch: [1]}\ncombinations: [{batch: 2}]", "'batch' stands both in axes and in combinations"),
        ("defaults:\n  - override /model: nope", "no model 'nope'"),
        ("batch: [1", "a config file is not YAML"),
    ],
)
def test_mistakes_in_an_experiment_file(own: Callable[..., compose.Composer], text: str, words: str) -> None:
    composer = own({"experiment/bad": f"# @package _global_\n{text}\n"})
    with pytest.raises(UserError) as caught:
        everything(composer, "experiment=bad")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


MODEL = """
_target_: sweep.workloads.tiny.linear
features: ${data.features}
classes: 4
label: batch ${batch} of ${.name}
format: numpy
data: tiny
"""


@pytest.mark.parametrize("searchpath", [False, True])
def test_models_of_another_folder(own: Callable[..., compose.Composer], searchpath: bool) -> None:
    composer = own({"model/my_model": MODEL}, searchpath=searchpath)
    assert "my_model" in composer.options("model")
    assert "digits" in composer.options("model")
    found = declared(composer, "model=my_model", "batch=1,5", "data.features=8,16", "backend=fake")
    assert [(trial.model["features"], trial.model["label"]) for trial in found] == [
        (8, "batch 1 of my_model"), (16, "batch 1 of my_model"),
        (8, "batch 5 of my_model"), (16, "batch 5 of my_model"),
    ]  # fmt: skip
    assert len(declared(composer, "model=glob(my_*)", "backend=fake")) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: bad\ndata: tiny", "model 'bad' has no _target_"),
        ("_target_: a.b\nformat: module", "model 'bad' names no data set: say data=... (choose from "),
        ("_target_: a.b\ndata: tyni", "no data 'tyni': did you mean 'tiny'?"),
        ("_target_: a.b\ndata: tiny\npath: ???", "model.path has no value: say model.path=..."),
        ("_target_: a.b\ndata: tiny\nformat: onxn", "model.format must be one of module, onnx"),
        ("_target_: a.b\ndata: tiny\nsize: ${nope}", "in 'model': Interpolation key 'nope' not found"),
    ],
)
def test_mistakes_in_a_model_file(own: Callable[..., compose.Composer], text: str, words: str) -> None:
    composer = own({"model/bad": text})
    with pytest.raises(UserError) as caught:
        declared(composer, "model=bad")
    assert words in str(caught.value)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        compose.make_loader("/no/such/folder")


# --- the fast way gives what Hydra gives


def test_trials_are_what_hydra_composes(own: Callable[..., compose.Composer]) -> None:
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    composer = own({"model/my_model": f"name: my_model{MODEL}"})
    arguments = [
        "model=tiny,my_model", "backend=fake,onnxruntime", "data.features=8,16", "batch=range(1,3)", "cores=2",
        "precision=int8", "load.concurrency=3", "buckets=[],[64,128]", "+data.x={a:1},{b:2}",
    ]  # fmt: skip
    trials = composer.trials(expand(arguments, composer))
    assert len(trials) == 2 * 2 * 2 * 2 * 2 * 2
    assert len({trial.key for trial in trials}) == len(trials)
    for trial in random.Random(5).sample(trials, 6):
        slow = composer.loader.load_configuration("config", [*trial.overrides, "data=tiny"], RunMode.RUN)
        OmegaConf.set_struct(slow, False)
        del slow["hydra"]
        plain: Any = OmegaConf.to_container(slow, resolve=True)
        plain["hardware"] = rules.fill(plain["hardware"])
        for name in (*schema.AXES[:4], "load", "precision", "batch", "cores", "replicas"):
            assert getattr(trial, name) == plain[name], name
        assert [list(bucket) for bucket in trial.buckets] == [[size] for size in plain["buckets"]]


def test_hydra_composes_once_per_choice_of_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    composer = compose.Composer(compose.make_loader())
    calls = []
    original = composer.loader.load_configuration
    monkeypatch.setattr(composer.loader, "load_configuration", lambda *args: calls.append(args) or original(*args))
    arguments = ["model=tiny", "backend=fake,torch", "batch=range(1,11)", "cores=1,2,3,4,5"]
    trials = composer.trials(expand(arguments, composer))
    composer.settings([trial.overrides for trial in trials])
    assert len(trials) == 100
    assert len(calls) == 3  # two backends, and once to learn which data the model names
    assert len({id(trial.model) for trial in trials}) <= 2  # shared, not copied: memory stays flat


# --- command lines


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["-m", "batch=1,5", "cores=1"], ["--multirun", "batch=1,5", "cores=1"]),
        (["batch=1,5", "-m", "cores=1"], ["--multirun", "batch=1,5", "cores=1"]),
        (["batch=1,5", "cores=1", "--multirun"], ["--multirun", "batch=1,5", "cores=1"]),
        (["batch=1"], ["--multirun", "batch=1"]),
        ([], ["--multirun"]),
        (["batch=1", "--run"], ["--multirun", "batch=1"]),
        (["batch=1", "--config-dir", "my", "cores=2"], ["--multirun", "--config-dir", "my", "batch=1", "cores=2"]),
        (["batch=1", "-cd", "my/conf"], ["--multirun", "--config-dir", "my/conf", "batch=1"]),
        (["batch=1", "--config-dir=my/conf", "-m"], ["--multirun", "--config-dir=my/conf", "batch=1"]),
        (["+experiment=e", "-m", "cores=1"], ["--multirun", "experiment=e", "cores=1"]),
        (["--cfg", "job", "batch=1"], ["--cfg", "job", "batch=1"]),
        (["batch=1", "-m", "-c", "job"], ["--cfg", "job", "batch=1"]),
        (["batch=1", "--info"], ["--info", "batch=1"]),
        (["--info", "defaults", "batch=1"], ["--info", "defaults", "batch=1"]),
        (["--info", "batch=1"], ["--info", "batch=1"]),
        (["--help"], ["--help"]),
        (["--version"], ["--version"]),
        (["-sc", "install=bash"], ["--shell-completion", "install=bash"]),
    ],
)  # fmt: skip
def test_flags_may_stand_anywhere(typed: list[str], expected: list[str]) -> None:
    assert command_line.main_argv(typed) == expected


def test_changes_of_a_stored_objective() -> None:
    stored = Objective("max_throughput", "throughput_items_per_s", True, margin=0.1)
    changed = compose.change_section("objective", stored, ["objective.latency_ms_p99_max=20"])
    assert (changed.name, changed.margin, changed.latency_ms_p99_max) == ("max_throughput", 0.1, 20.0)
    assert compose.change_section("objective", stored, ["objective=min_cost"]).metric == "usd_per_million_items"
    with pytest.raises(UserError, match="not about the objective"):
        compose.change_section("objective", stored, ["batch=1"])


@pytest.mark.process
def test_an_installed_copy_in_an_empty_folder(tmp_path: Path) -> None:
    """The layout of the wheel: conf inside the package. Nothing heavy is imported, and nothing is written."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.npz", "*.pt", "conf")
    shutil.copytree(ROOT / "sweep", site / "sweep", ignore=ignore)
    shutil.copytree(ROOT / "conf", site / "sweep" / "conf")
    shutil.copytree(ROOT / "hydra_plugins", site / "hydra_plugins", ignore=ignore)
    code = (
        "import sys; from sweep.config import axes, compose; c = compose.Composer(compose.make_loader());"
        "t = c.trials(axes.expand(['batch=1,5'], c)); s = c.settings([[]]);"
        "print(compose.find_conf_dir(), len(t), s.outputs);"
        "print(sorted(set(sys.modules) & {'torch', 'onnxruntime', 'openvino', 'mlflow', 'optuna', 'scipy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{site}/sweep/conf 2 {empty}/outputs", "[]"]
    assert list(empty.iterdir()) == []


# --- the process around the model


def test_settings_of_the_process_are_axes() -> None:
    default, keep = trials("process.allocator=default,keep", *FAKE)
    assert (default.process.allocator, keep.process.allocator) == ("default", "keep")
    assert keep.settings["allocator"] == "keep"
    assert "allocator=keep" in keep.label
    assert default.key == shared().trial(FAKE).key != keep.key


def test_wrong_settings_of_the_process_are_named() -> None:
    assert complaint("process.allocator=jemalloc", *FAKE).startswith("process.allocator must be one of default, keep")
    assert "did you mean" in complaint("process.alocator=keep", *FAKE)
    assert "process.speed" in complaint("+process.speed=1", *FAKE)
