"""backend=neuron (Inf1) against a strict double of torch_neuron: pipelines, casts, the share on the device."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sweep import backends
from sweep.backends.neuron import neuron, torch_common
from sweep.spec import BuildSpec, Trial
from sweep.spec import FailureKind as K
from tests.support.neuron_bench import Bench, Built, fixtures

NEURON = backends.get("neuron")
bench, built = fixtures("torch_neuron")


@pytest.fixture(autouse=True)
def by_the_rules(bench: Bench, request: pytest.FixtureRequest) -> Iterator[None]:
    """No test may make the backend break a documented rule, but that of a model which cannot have what is asked."""
    before = len(bench.host.violations())
    yield
    bench.host.heal()
    allowed = {"dynamic-batch"} if "vit" in request.node.name else set()
    assert {one["rule"] for one in bench.host.violations()[before:]} <= allowed


@pytest.mark.process
@pytest.mark.parametrize(
    ("precision", "options", "words"),
    [
        ("bf16", {}, "--neuroncore-pipeline-cores 1 --fast-math fp32-cast-all fast-relayout"),
        ("fp16", {}, "--neuroncore-pipeline-cores 1 --fast-math fp32-cast-all-fp16 fast-relayout"),
        (
            "bf16",
            {"cast": "matmult", "fast_relayout": False, "cores": 4, "static_weights": True},
            "--neuroncore-pipeline-cores 4 --fast-math fp32-cast-matmult-bf16 no-fast-relayout --static-weights",
        ),
        (
            "fp16",
            {"cast": "matmult", "extra_args": ["--enable-fast-loading-neuron-binaries"]},
            "--neuroncore-pipeline-cores 1 --fast-math fp32-cast-matmult-fp16 fast-relayout"
            " --enable-fast-loading-neuron-binaries",
        ),
    ],
)
def test_every_flag_is_passed_and_kept(precision: str, options: dict[str, Any], words: str, bench: Bench) -> None:
    made = bench.build(precision=precision, **options)
    assert bench.host.calls("trace")[-1]["compiler_args"] == words.split()
    assert (made.info.precision, made.info.placement) == (precision, 1.0)
    assert list(torch_common.read_stated(made.folder / "model.pt").arguments) == words.split()
    cores = tuple(range(options.get("cores", 1)))
    outcome = bench.measure(made, cores)
    assert outcome.result is not None
    assert outcome.result["precision"] == precision


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        ("--fast-math fp32-cast-all fast-relayout", "bf16"),
        ("--fast-math fp32-cast-all-fp16", "fp16"),
        ("--fast-math fp32-cast-matmult-bf16 fp32-cast-matmult-fp16", "fp16"),
        ("--fast-math none", "unknown"),
        ("", "unknown"),
    ],
)
def test_precision_is_read_back_from_the_flags(words: str, precision: str) -> None:
    assert neuron.precision_of(words.split()) == precision


@pytest.mark.process
def test_keywords_are_passed_where_they_are_asked_for(bench: Bench) -> None:
    bench.build(dynamic_batch=True, separate_weights=True)
    call = bench.host.calls("trace")[-1]
    assert (call["dynamic_batch_size"], call["separate_weights"]) == (True, True)
    bench.build()
    call = bench.host.calls("trace")[-1]
    assert not {"dynamic_batch_size", "separate_weights", "fallback", "compiler_timeout"} & set(call)


@pytest.mark.process
def test_answers_agree_as_far_as_the_cast_goes(bench: Bench, built: Built) -> None:
    bf16, fp16 = bench.answers(bench.measure(built), bench.measure(bench.build(precision="fp16")))
    assert bf16.dtype == np.float32
    assert 0 < np.abs(bf16 - fp16).max() < 0.05


@pytest.mark.process
def test_a_copy_has_the_cores_of_its_pipeline(bench: Bench) -> None:
    made = bench.build(cores=2)
    before = len(bench.host.calls("load"))
    assert bench.measure(made, (0, 1), (2, 3)).failure is None
    loads = bench.host.calls("load")[before:]
    assert {call["env"]["NEURON_RT_VISIBLE_CORES"] for call in loads} == {"0-1", "2-3"}


@pytest.mark.process
def test_fewer_cores_than_the_pipeline_has(bench: Bench) -> None:
    failure = bench.measure(bench.build(cores=4), (0, 1)).failure
    assert failure is not None
    assert failure.kind is K.CORE_UNAVAILABLE
    assert "status=9" in failure.summary


@pytest.mark.process
def test_group_sizes_of_an_old_shell_are_left_out(bench: Bench, built: Built) -> None:
    assert bench.measure(built, env={"NEURONCORE_GROUP_SIZES": "4x1"}).failure is None
    assert "NEURONCORE_GROUP_SIZES" not in bench.host.calls("load")[-1]["env"]


@pytest.mark.process
def test_dynamic_batching_takes_requests_of_any_size(bench: Bench) -> None:
    made = bench.build(dynamic_batch=True)
    for size in (1, 2, 5):
        assert bench.measure(made, request_batch=size).failure is None


@pytest.mark.process
def test_a_vit_with_dynamic_batching_is_told_why(bench: Bench) -> None:
    """Its class token is a constant of batch 1, which becomes an input of the compiled program."""
    made = bench.build(model="vit", dynamic_batch=True)
    failure = bench.measure(made, request_batch=4).failure
    assert failure is not None
    assert failure.kind is K.SHAPE_MISMATCH
    assert "Inconsistent batch sizes found on inputs" in failure.summary
    assert bench.measure(bench.build(model="vit", batch=4)).failure is None


@pytest.mark.process
def test_operators_on_the_cpu_are_counted_with_the_reason(bench: Bench) -> None:
    info = bench.build(model="sorts").info
    assert 0.5 < info.placement < 1.0
    assert info.notes["operators"]["fused"] < info.notes["operators"]["arithmetic"]


@pytest.mark.process
def test_without_the_driver(bench: Bench, built: Built) -> None:
    failure = bench.measure(built, env={"NEURON_DOUBLE": ""}).failure
    assert failure is not None
    assert failure.kind is K.TOOLCHAIN_MISSING


@pytest.mark.process
def test_an_artifact_without_the_device_is_refused(bench: Bench, built: Built) -> None:
    torch = pytest.importorskip("torch")
    other = bench.folder / "on-cpu"
    other.mkdir(exist_ok=True)
    stated = torch_common.read_stated(built.folder / "model.pt")
    with torch_common.common.quiet():
        module = torch.jit.trace(torch.nn.ReLU(), torch.zeros(2, 8))
    stated.save(module, other / "model.pt")
    failure = bench.measure(Built(built.spec, built.outcome, other)).failure
    assert failure is not None
    assert (failure.kind, "nothing that runs on the device" in failure.summary) == (K.PARTIAL_PLACEMENT, True)


@pytest.mark.process
def test_an_sdk_for_other_hardware_is_told(tmp_path: Any) -> None:
    """A torch_neuron without `trace`, and the wheels of Inf2 where those of Inf1 were meant."""
    host = Bench(tmp_path, "torch_neuron", "inf1.xlarge")
    with (host.host.site / "torch_neuron" / "__init__.py").open("a") as file:
        file.write("\ndel trace\n")
    failure = host.build().failure
    assert (failure.kind, "torch_neuron has no trace: " in failure.summary) == (K.TOOLCHAIN_MISSING, True)
    host.close()


# --- what the log says ------------------------------------------------------------------------------------------------

LINE = "Number of arithmetic operators (pre-compilation) before = %d, fused = %d, percent fused = %s%%"


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("INFO:Neuron:" + LINE % (565, 553, "97.88"), 0.9788),
        (LINE % (10, 0, "0.0") + "\n" + LINE % (10, 4, "40.0"), 0.4),
        ("percent fused", 0.0),
        ("", 0.0),
    ],
)
def test_the_share_is_that_of_the_last_report(text: str, share: float) -> None:
    assert neuron.read_share(text)[0] == pytest.approx(share)


def test_the_sdks_logger_is_heard_though_it_shows_nothing() -> None:
    logger = logging.getLogger("Neuron")
    lines: list[str] = []
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with neuron._collect_log(lines):
            logger.info(LINE, 3, 3, "100.0")
        logger.info("later")
    finally:
        logger.setLevel(level)
    assert neuron.read_share("\n".join(lines)) == (1.0, {"arithmetic": 3, "fused": 3})
    assert len(lines) == 1


# --- what the parent may ask ------------------------------------------------------------------------------------------


def spec(precision: str = "bf16", cores: int = 1, **options: Any) -> BuildSpec:
    return BuildSpec({"format": "module"}, {}, "neuron", options, precision, 1, device="neuron", cores=cores)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (spec("fp32"), "neuron has no fp32: Inf1 casts every model, so use precision=bf16 or fp16"),
        (spec("int8"), "neuron has no int8: it has bf16, fp16"),
        (spec(cores=65), "at most 64 cores"),
        (spec(extra_args=["--num-neuroncores", "4"]), "extra_args holds --num-neuroncores: set cores"),
        (spec(extra_args=["--fp32-cast=matmult"]), "set backend.options.cast"),
    ],
)
def test_what_cannot_be_built_is_one_line(given: BuildSpec, told: str) -> None:
    refused = NEURON.supports(given)
    assert refused is not None
    assert told in refused
    assert re.search(r"\n", refused) is None


def test_what_cannot_run_is_one_line() -> None:
    def trial(target: str, request: int | None = None, **options: Any) -> Trial:
        backend = {"name": "neuron", "device": "neuron", "options": options}
        hardware = {"name": "h", "target": target}
        return Trial({"name": "m"}, {"name": "d"}, hardware, backend, "bf16", 2, 1, 1, request_batch=request)

    assert NEURON.runs(trial("inf1")) is None
    assert "h is inf2: use backend=neuronx" in str(NEURON.runs(trial("inf2")))
    assert "leave out request_batch" in str(NEURON.runs(trial("inf1", 6)))
    assert NEURON.runs(trial("inf1", 6, dynamic_batch=True)) is None


@pytest.mark.parametrize("name", ["neuron", "neuronx"])
def test_a_compiler_that_is_not_on_the_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backends.get(name)
    compiler = {"neuron": "neuron-cc", "neuronx": "neuronx-cc"}[name]
    monkeypatch.setenv("PATH", "")
    assert backend.missing() is None  # not installed at all: that is told elsewhere, with the line that installs it
    monkeypatch.setattr(backend, "versions", lambda: {compiler: "2.0"})
    assert (
        backend.missing() == f"{compiler} is installed but not on PATH: activate its environment, or use backend.python"
    )
    monkeypatch.setattr("shutil.which", lambda name: f"/opt/bin/{name}")
    assert backend.missing() is None
