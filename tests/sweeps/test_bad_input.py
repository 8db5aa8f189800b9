"""What a person can get wrong: one line with the fix in it, or one trial that is left out while the others run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sweep.__main__ import run
from sweep.spec import Status
from tests.support import injections
from tests.support.injections import Group, check, check_sweep
from tests.support.running import ROOT, TINY, command, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
WRONG = {
    ("batchs=2",): "no key 'batchs': did you mean 'batch'?",
    ("limits.build_second=3",): "did you mean 'limits.build_seconds'?",
    ("backend.options.latncy_ms=3",): "did you mean 'backend.options.latency_ms'?",
    ("backend.options.latency_ms=nan",): "backend.options.latency_ms must be a finite number, not nan",
    ("+gates.litle_tolerance=0.1",): "did you mean 'gates.little_tolerance'?",
    ("model=tinny",): "no model 'tinny': did you mean 'tiny'?",
    ("model=tiny,digts",): "no model 'digts': did you mean 'digits'?",
    ("backend=fakes",): "no backend 'fakes': did you mean 'fake'?",
    ("backend=fake,onnxruntim", "batch=1,2"): "no backend 'onnxruntim': did you mean 'onnxruntime'?",
    ("data=tini",): "no data 'tini': did you mean 'tiny'?",
    ("hardware=trn1",): "did you mean 'trn1_2xlarge'?",
    ("objective=max_througput",): "did you mean 'max_throughput'?",
    ("precision=fp31",): "must be one of fp32, bf16, fp16, int8, auto, not 'fp31': did you mean 'fp32'?",
    ("batch=0",): "batch must be an integer >= 1, not 0",
    ("batch=1,0",): "batch must be an integer >= 1, not 0",
    ("batch=-3",): "batch must be an integer >= 1, not -3",
    ("batch=two",): "batch must be an integer >= 1, not 'two'",
    ("cores=0",): "cores must be an integer >= 1, not 0",
    ("buckets=[0]",): "buckets must be an integer >= 1, not 0",
    ("model.features=many",): "model.features must be a number, not 'many'",
    ("plan=onyl",): "plan must be one of run, only, build, measure, not 'onyl': did you mean 'only'?",
    ("report=pdf",): "report must be one of html, none, not 'pdf'",
    ("tracking=server",): "add tracking.uri=http://HOST:5000 or set MLFLOW_TRACKING_URI",
    ("--multi-run",): "settings are KEY=VALUE without dashes",
    ("batch=[1",): "cannot read 'batch=[1'",
}


def one_error(captured: "pytest.CaptureResult[str]") -> str:
    """The only line on standard error, which begins as every user's error does."""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    assert "Traceback" not in captured.out
    return captured.err


@pytest.mark.parametrize("wrong", WRONG, ids=" ".join)
def test_a_mistake_is_one_line_with_the_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert run([*TINY, f"outputs={tmp_path / 'out'}", *wrong]) == 1
    captured = capsys.readouterr()
    assert WRONG[wrong] in one_error(captured)
    assert "measure" not in captured.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", [["trails"], ["why", "batch=5"], ["trials", "20200101"], ["builds", "list"]], ids=str)
def test_a_verb_that_cannot_work_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    outputs = [] if verb == ["trails"] else ["--outputs", str(tmp_path)]
    assert run([*verb, *outputs]) == 1
    one_error(capsys.readouterr())


@pytest.mark.process
@pytest.mark.parametrize(
    "group",
    [injections.MODELS, injections.DATA, injections.CORES, injections.PACKAGES, injections.BUCKETS],
    ids=lambda group: group.axis,
)
def test_what_cannot_work_is_left_out_and_the_others_run(tmp_path: Path, group: Group) -> None:
    done = injections.run(group, tmp_path)
    check_sweep(done, group)
    for injection in group.injections:
        check(done, group, injection)


def test_nothing_to_measure_is_exit_status_2(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "batch=1,2", "cores=4096")
    assert status == 2
    assert [record.status for record in history.records.values()] == [Status.INVALID] * 2


def test_outputs_that_are_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("I was here first")
    assert run([*TINY, f"outputs={tmp_path / 'out'}"]) == 1
    assert "choose another folder with outputs=FOLDER" in one_error(capsys.readouterr())
    assert (tmp_path / "out").read_text() == "I was here first"


def test_outputs_where_nobody_may_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TINY, "outputs=/proc/self/out"]) == 1
    assert "choose another folder with outputs=FOLDER" in one_error(capsys.readouterr())


def test_a_store_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store").write_text("I was here first")
    assert run([*TINY, f"outputs={tmp_path}"]) == 1
    assert "choose another folder with outputs=FOLDER" in one_error(capsys.readouterr())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: the next test gives that up")
def test_outputs_that_are_read_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o555)
    try:
        assert run([*TINY, f"outputs={tmp_path}"]) == 1
        assert "Permission denied; choose another folder" in one_error(capsys.readouterr())
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to give it up by setpriv")
@pytest.mark.process
def test_outputs_that_are_read_only_for_root_without_its_powers(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    line = ["setpriv", "--bounding-set=-dac_override", *command(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    tmp_path.chmod(0o755)
    if "setpriv:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 1, done.stderr
    said = f"error: cannot write {tmp_path}: Permission denied; choose another folder with outputs=FOLDER"
    assert done.stderr == said + "\n"
