"""The MLflow mirror: what stands in the store, that it is never doubled, and that a bad store costs next to nothing."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.files import write_json
from sweep.hardware import environment
from sweep.isolate.pool import Limits, Workers
from sweep.report.mlflow import address, database, store, tracker
from sweep.report.mlflow.address import store_uri
from sweep.report.mlflow.links import make_links, make_shared_view
from sweep.report.mlflow.tracker import SendRequest, Sent
from sweep.spec import FailureKind, UserError
from sweep.spec.facts import BindingFacts
from sweep.store import ledger
from sweep.verbs import ui
from tests.support.records import make_record, make_records, make_settings, make_verdict
from tests.support.running import TINY, start

ID = "20260102-030405"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """What the client is told is undone after each test, and the caller's own server is left alone."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, value in address.CLIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def settings(tmp_path, mlflow_store):
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")
    return make_settings(tmp_path)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "sweeps" / ID
    made.mkdir(parents=True)
    return made


def client(settings):
    return database.open_client(str(store_uri(settings)))


def runs_of(settings, filter_text=""):
    found = client(settings)
    experiment = found.get_experiment_by_name(settings.name)
    return list(found.search_runs([experiment.experiment_id], filter_text, max_results=1000))


def children(settings):
    return {run.info.run_name: run for run in runs_of(settings, "tags.`sweep.kind` = 'trial'")}


def told(settings):
    """Everything that the store says of the trials."""
    runs = children(settings).values()
    return {run.info.run_id: (run.data.tags, run.data.params, run.data.metrics, run.info.end_time) for run in runs}


def artifacts(run):
    root = Path(urllib.parse.urlparse(run.info.artifact_uri).path)
    return {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}


def send(settings, folder, records, files=(), markdown="", interrupted=False):
    """Send from this process, as `python -m sweep sync` does."""
    request = SendRequest(str(folder), settings, tuple(map(str, files)), markdown, interrupted)
    return tracker.send(request, records, make_verdict(records))


# --- what stands in the store -----------------------------------------------------------------------------------------


def test_sweep_is_sent_with_params_metrics_tags_and_files(settings, folder, tmp_path):
    log = folder / "builds" / "log.txt"
    samples = folder / "measure" / "samples.npz"
    for path in (log, samples):
        path.parent.mkdir()
        path.write_text("text")
    records = make_records()
    own = folder / "trials" / records[0].key
    own.mkdir(parents=True)
    (own / "config.json").write_text('{"batch": 1}')
    records[0] = replace(
        records[0],
        builds=({"key": "b", "seconds": 2.5, "folder": str(log.parent)},),
        repeats=(replace(records[0].repeats[0], samples=str(samples)),),
        binding=BindingFacts("position", {"a": "left", "b": "right"}),
        metrics={**records[0].metrics, "odd % name (x)": 1.23456789, "not_known": float("nan")},
    )
    write_json(folder / "environment.json", environment.capture())
    table = tmp_path / "results.csv"
    table.write_text("a,b\n")
    logged = send(settings, folder, records, [table, tmp_path / "not there"], "**The** description")

    assert logged.problem is None
    found = children(settings)
    assert set(found) == {record.label for record in records if record.status.value != "invalid"}
    by_key = {record.key: found[record.label].info.run_id for record in records if record.label in found}
    assert by_key == dict(logged.runs)

    run = found["digits-onnxruntime-fp32-b1-c1"]
    assert run.info.status == "FINISHED"
    assert run.info.start_time == 1_760_000_000_000
    assert run.info.end_time == 1_760_000_004_000
    tags = run.data.tags
    assert tags["mlflow.parentRunId"] == logged.parent
    own = {name: tags[name] for name in tags if name.startswith("sweep.") and name != "sweep.sent"}
    assert own == {
        "sweep.kind": "trial",
        "sweep.id": ID,
        "sweep.key": records[0].key,
        "sweep.status": "ok",
        "sweep.failure_kind": "",
        "sweep.origin": "measured",
        "sweep.inputs": "a -> left, b -> right (by position)",
    }
    assert run.data.params == {
        "model": "digits",
        "data": "digits",
        "hardware": "local",
        "backend": "onnxruntime",
        "precision": "fp32",
        "batch": "1",
        "request_batch": "1",
        "cores": "1",
        "replicas": "1",
        "buckets": "[]",
    }
    assert run.data.metrics["throughput_items_per_s_low"] == 980
    assert run.data.metrics["agreement_high"] == 1
    assert run.data.metrics["odd _ name _x_"] == 1.23457
    assert "not_known" not in run.data.metrics
    files = artifacts(run)
    assert set(files) == {
        "build/log.txt",
        "config.json",
        "environment.json",
        "overrides.txt",
        "samples/0/samples.npz",
    }
    assert json.loads(files["config.json"].read_text())["batch"] == 1
    assert files["overrides.txt"].read_text().splitlines()[0] == "backend=onnxruntime"

    told = tags["mlflow.note.content"]
    assert told.startswith("**Rank ")
    assert f"python -m sweep reproduce {run.info.run_id}" in told

    failed = found["digits-torch-fp32-b5-c1"]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["sweep.failure_kind"] == "crash"
    assert failed.data.tags["sweep.status"] == "build_failed"
    assert failed.data.metrics == {"build_seconds": 2.5}
    assert failed.data.tags["mlflow.note.content"].startswith("**build failed: crash: ")

    parent = client(settings).get_run(logged.parent)
    assert parent.info.status == "FINISHED"
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("**The** description")
    assert (
        f"[the chosen trial](#/experiments/{logged.experiment_id}/runs/{logged.runs[make_verdict(records).winner]})"
        in note
    )
    assert parent.data.tags["sweep.kind"] == "sweep"
    assert parent.data.tags["sweep.winner"] == "digits-onnxruntime-fp32-b1-c4"
    assert parent.data.metrics["throughput_items_per_s"] == pytest.approx(1987.51)
    assert parent.data.metrics["trials"] == 9
    assert parent.data.metrics["trials_failed"] == 3
    assert parent.data.metrics["all_repeats"] == 11  # without what was not measured
    assert f"[all trials, best first](#/experiments/{logged.experiment_id}/runs?viewStateShareKey={ID})" in note
    experiment = client(settings).get_experiment(logged.experiment_id)
    assert f"sweep {ID}" in experiment.tags["mlflow.note.content"]
    assert parent.data.params["cores"] == "4"
    assert set(artifacts(parent)) == {"results.csv", "environment.json"}
    assert parent.info.artifact_uri.startswith((tmp_path / "mlartifacts").as_uri())


def test_params_tell_runs_under_several_loads_apart(settings, folder):
    loads = (
        {"name": "saturate", "concurrency": 2},
        {"name": "poisson", "rate": 250.0, "max_wait_ms": 5.0, "seed": 0},
        {"name": "capacity", "slo_p99_ms": 20.0, "max_wait_ms": 1.0, "probes": 12, "seed": 0},
    )
    records = [replace(make_record(batch=n), load=load) for n, load in enumerate(loads, 1)]
    verdict = make_verdict(records)
    send(settings, folder, records)
    found = children(settings)
    for record in records:
        params = found[record.label].data.params
        logged = {name: value for name, value in params.items() if name.partition(".")[0] == "load"}
        rest = {f"load.{name}": str(value) for name, value in record.load.items() if name != "name"}
        assert logged == {"load": record.load["name"], **rest}
        assert params["batch"] == str(record.settings["batch"])
    (chosen,) = [record for record in records if record.key == verdict.winner]
    (parent,) = runs_of(settings, "tags.`sweep.kind` = 'sweep'")
    assert parent.data.params["load"] == chosen.load["name"]
    assert len(client(settings).search_runs([parent.info.experiment_id], "params.load = 'poisson'")) == 1


def test_sending_twice_changes_nothing(settings, folder):
    records = make_records()
    first = send(settings, folder, records)
    before = told(settings)
    again = send(settings, folder, records)
    assert again.runs == first.runs
    assert again.parent == first.parent
    assert told(settings) == before
    assert len(runs_of(settings)) == len(first.runs) + 1


def test_resumed_trial_and_new_winner_update_the_same_runs(settings, folder):
    stopped, other = make_record("stopped", batch=5, reason="interrupted"), make_record(batch=1, throughput=10.0)
    first = send(settings, folder, [stopped, other], interrupted=True)
    assert children(settings)[stopped.label].info.status == "KILLED"
    assert client(settings).get_run(first.parent).info.status == "KILLED"
    again = send(settings, folder, [make_record(batch=5), other])
    assert again.runs == first.runs
    run = children(settings)[stopped.label]
    assert run.info.status == "FINISHED"
    assert run.data.tags["sweep.status"] == "ok"
    assert run.data.metrics["latency_ms_p50"] == pytest.approx(4.2)
    parent = client(settings).get_run(again.parent)
    assert parent.info.status == "FINISHED"
    assert parent.data.params["batch"] == "5"
    assert parent.data.tags["sweep.winner"] == stopped.label


def test_run_cut_off_half_way_is_completed(settings, folder):
    record = make_record()
    first = send(settings, folder, [record])
    run_id = first.runs[record.key]
    with sqlite3.connect(settings.outputs_path / "mlflow.db") as database:  # as a kill leaves it
        database.execute("update runs set status='RUNNING', end_time=null where run_uuid=?", (run_id,))
        database.execute("delete from latest_metrics where run_uuid=? and key='latency_ms_p50'", (run_id,))
        database.execute("delete from metrics where run_uuid=? and key='latency_ms_p50'", (run_id,))
    database.close()
    assert send(settings, folder, [record]).runs == first.runs
    run = client(settings).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["latency_ms_p50"] == 1


def test_later_trials_join_the_sent_ones(settings, folder):
    first, second = make_record(batch=1), make_record(batch=5)
    assert set(send(settings, folder, [first], interrupted=True).runs) == {first.key}
    logged = send(settings, folder, [first, second])
    assert set(logged.runs) == {first.key, second.key}
    assert len(runs_of(settings)) == 3


def test_sweep_without_results_is_a_failed_run(settings, folder):
    logged = send(settings, folder, [make_record("invalid"), make_record("build_failed", batch=5)])
    assert logged.problem is None
    parent = client(settings).get_run(logged.parent)
    assert parent.info.status == "FAILED"
    assert parent.data.metrics["trials_not_possible"] == 1


def test_two_sweeps_can_open_one_new_experiment_at_once(settings, tmp_path):
    results = {}

    def one(name):
        made = tmp_path / "sweeps" / name
        made.mkdir(parents=True)
        results[name] = tracker.send(SendRequest(str(made), settings), [make_record()], None)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [logged.problem for logged in results.values()] == [None, None]
    assert len({logged.experiment_id for logged in results.values()}) == 1
    assert len(runs_of(settings)) == 4


def test_experiment_tag_survives_a_race_with_another_sweep(settings, folder, monkeypatch):
    """Two that find no such tag both insert it, and the store lets one of them fail."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    real, late = MlflowClient.set_experiment_tag, []

    def second(self, experiment_id, name, value):
        if name not in late:
            late.append(name)
            raise MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: experiment_tags.key")
        real(self, experiment_id, name, value)

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", second)
    logged = send(settings, folder, [make_record()])
    assert logged.problem is None
    tags = client(settings).get_experiment(logged.experiment_id).tags
    assert len(late) == 2
    assert set(late) <= set(tags)


class Maker:
    """Stands for the client that makes the tables of a new store: two steps, and maybe a death between them."""

    def __init__(self, dies=False):
        self.made, self.dies = [], dies

    def __call__(self, uri):
        self.path = Path(uri.removeprefix("sqlite:///"))
        self.path.write_text("half")
        self.made.append(uri)
        return self

    def search_experiments(self, max_results):
        if self.dies:
            raise RuntimeError("killed")
        assert self.path.read_text() == "half"  # nobody else writes the same file
        self.path.write_text("whole")


def test_only_one_sweep_creates_a_new_store(tmp_path, monkeypatch):
    maker = Maker()
    monkeypatch.setattr(database, "open_client", maker)
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    threads = [threading.Thread(target=database.make_database, args=(uri,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(maker.made) == 1
    assert (tmp_path / "new" / "mlflow.db").read_text() == "whole"


def test_half_created_store_is_created_again(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr(database, "open_client", Maker(dies=True))
    with pytest.raises(RuntimeError, match="killed"):
        database.make_database(uri)
    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.setattr(database, "open_client", Maker())
    database.make_database(uri)
    assert (tmp_path / "mlflow.db").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mlflow.db.lock", "mlflow.db"]


def test_experiment_description_by_a_user_stays(settings, folder):
    first = send(settings, folder, [make_record()])
    client(settings).set_experiment_tag(first.experiment_id, "mlflow.note.content", "Mine.")
    send(settings, folder, [make_record()])
    assert client(settings).get_experiment(first.experiment_id).tags["mlflow.note.content"] == "Mine."


def test_resent_trial_gets_new_description_without_second_metrics(settings, folder):
    record, faster = make_record(), make_record(batch=5, throughput=1e6)
    run_id = send(settings, folder, [record]).runs[record.key]
    found = client(settings)
    assert found.get_run(run_id).data.tags["mlflow.note.content"].startswith("**Chosen among 1 trial. ")
    send(settings, folder, [record, faster])
    assert found.get_run(run_id).data.tags["mlflow.note.content"].startswith("**Rank 2 of 2 trials")
    assert len(found.get_metric_history(run_id, "latency_ms_p50")) == 1


def test_deleted_experiment_is_restored(settings, folder):
    first = send(settings, folder, [make_record()])
    client(settings).delete_experiment(first.experiment_id)
    assert send(settings, folder, [make_record()]).experiment_id == first.experiment_id


def test_long_log_keeps_its_end(settings, folder):
    log = folder / "log.txt"
    log.write_text("x" * store.LOG_BYTES + "the end\n")
    record = make_record("build_failed", log=str(log))
    send(settings, folder, [record])
    kept = artifacts(children(settings)[record.label])["failure/log.txt"].read_text()
    assert len(kept) < store.TAIL_BYTES + 300
    assert kept.endswith("the end\n")
    assert str(log) in kept.splitlines()[0]


def test_a_long_description_is_cut(settings, folder):
    logged = send(settings, folder, [make_record()], markdown="é" * 20_000)
    assert client(settings).get_run(logged.parent).data.tags["mlflow.note.content"].endswith("…")


# --- a store that is away, hangs or refuses ---------------------------------------------------------------------------


def served(settings, uri):
    return replace(settings, tracking={"name": "server", "uri": uri})


def test_unreachable_server_costs_one_try_and_gives_one_line(tmp_path, folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    logged = send(served(make_settings(tmp_path), uri), folder, make_records())
    assert logged == Sent(problem=logged.problem)
    assert logged.problem.startswith(f"MLflow server {uri} is away (")
    assert logged.problem.endswith(f"everything is in the ledger; send it later with `python -m sweep sync {ID}`")
    assert "\n" not in logged.problem


def ledger_of(settings, folder, records):
    """As a sweep leaves it."""
    book = ledger.Ledger(folder)
    with book.together():
        book.append("sweep", id=folder.name, settings=settings, command="", version="0")
        for record in records:
            book.append("record", record=record)
    book.close()


def worker(workers, request, folder, seconds):
    return workers.run(request, folder / "send", limits=Limits(seconds), preload=tracker.PRELOAD)


@pytest.mark.process
def test_a_worker_sends_a_sweep_from_its_ledger(settings, folder):
    records = make_records()
    ledger_of(settings, folder, records)
    request = SendRequest(str(folder), settings, markdown="**The** description")
    with Workers() as workers:
        sent = tracker.read_outcome(worker(workers, request, folder, 300), request)
    assert sent.problem is None
    assert {run.info.run_id for run in children(settings).values()} == set(sent.runs.values())
    assert set(sent.runs) == {record.key for record in records if record.status.value != "invalid"}
    assert client(settings).get_run(sent.parent).data.tags["mlflow.note.content"].startswith("**The** description")
    assert send(settings, folder, records).runs == sent.runs  # what `sync` sends is the same


@pytest.mark.process
def test_hanging_server_is_given_up(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    with socket.socket() as server, Workers() as workers:
        server.bind(("127.0.0.1", 0))
        server.listen()
        settings = served(make_settings(tmp_path), f"http://127.0.0.1:{server.getsockname()[1]}")
        ledger_of(settings, folder, make_records())
        request = SendRequest(str(folder), settings)
        outcome = worker(workers, request, folder, 2.0)
        connection, _ = server.accept()  # it was called
        connection.close()
    assert outcome.failure.kind is FailureKind.TIMEOUT
    assert outcome.seconds < 300 / 10  # the client itself would have waited for its own timeout, ten times as long
    problem = tracker.read_outcome(outcome, request).problem
    assert "not finished after 2 s" in problem
    assert problem.endswith(f"send it later with `python -m sweep sync {ID}`")


def test_more_trials_get_more_time(tmp_path):
    local, remote = (
        SendRequest("x", s) for s in (make_settings(tmp_path), served(make_settings(tmp_path), "http://h"))
    )
    assert local.seconds(1000) - local.seconds(0) == 1000 * tracker.SECONDS_A_TRIAL
    assert remote.seconds(0) < local.seconds(0)


@pytest.mark.process
def test_sync_completes_what_a_killed_worker_left(settings, folder):
    records = [make_record(batch=n) for n in range(1, 41)]
    ledger_of(settings, folder, records)
    request = SendRequest(str(folder), settings)
    with Workers() as workers, ThreadPoolExecutor() as threads:
        sending = threads.submit(worker, workers, request, folder, 300)
        with closing(sqlite3.connect(settings.outputs_path / "mlflow.db", timeout=60, isolation_level=None)) as store:
            while count_children(store) < 2:
                assert not sending.done(), sending.result()
                time.sleep(0.02)
            store.execute("begin immediate")  # now nobody else writes: the worker is killed before it has sent all
            begun = count_children(store)
            workers.cancel()
            outcome = sending.result()
    assert outcome.failure.kind is FailureKind.PREEMPTED
    assert begun == len(children(settings)) < len(records)
    assert send(settings, folder, records).problem is None
    trials = [run for run in runs_of(settings) if run.data.tags["sweep.kind"] == "trial"]
    assert sorted(run.data.tags["sweep.key"] for run in trials) == sorted(record.key for record in records)
    assert {run.info.status for run in trials} == {"FINISHED"}
    assert len(runs_of(settings)) == len(records) + 1


def count_children(store):
    """How many trials have a run."""
    return store.execute("select count(*) from tags where key='sweep.key'").fetchone()[0]


def tracked(name, uri=None):
    """The command line of a tiny sweep that goes to MLflow."""
    kept = [override for override in TINY if not override.startswith("tracking")]
    return [*kept, f"tracking={name}", *([f"tracking.uri={uri}"] if uri else [])]


@pytest.mark.process
def test_sweep_is_sent_at_its_end_without_importing_mlflow_itself(settings):
    arguments = [*tracked("local"), f"outputs={settings.outputs_path}", "name=digits", "batch=1,2"]
    code = (
        f"import sys; from sweep.__main__ import run; sys.exit(run({arguments!r}) or 100 * ('mlflow' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    history = ledger.History(ledger.find(settings.outputs_path, "last"))
    assert {run.info.run_id for run in runs_of(settings)} == set(history.runs.values())
    assert set(history.runs) == {"", *history.trials}
    assert len(children(settings)) == 2


@pytest.mark.process
def test_ctrl_c_while_sending_shows_results_and_the_sync_command(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(120)
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = start(tmp_path, "batch=1,2", base=tracked("server", uri))
        connection, _ = server.accept()  # and it never answers
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=60)
        connection.close()
    history = ledger.History(ledger.find(tmp_path, "last"))
    assert process.returncode == 130, shown
    assert f"python -m sweep sync {history.folder.name}" in " ".join(shown.split())
    assert "python -m sweep ui" in shown, "the last lines of the results"
    assert history.finished
    assert {record.status.value for record in history.records.values()} == {"ok"}


class Fake:
    """A store that fails at the n-th trial."""

    def __init__(self, error=None, at=1):
        self.error, self.at, self.calls = error, at, 0
        self.experiment_id, self.parent = "7", "parent"
        self.closed = False

    def log_trial(self, record, files, note=""):
        self.calls += 1
        if self.error is not None and self.calls == self.at:
            raise self.error
        return f"run-{record.label}"

    def tag_experiment(self, name, value):
        pass

    def describe_experiment(self, note):
        pass

    def add_parent_files(self, files):
        pass

    def close_parent(self, *_):
        self.closed = True


def faked(monkeypatch, fake, tmp_path):
    monkeypatch.setattr(tracker, "RunStore", lambda *_: fake)
    return send(make_settings(tmp_path), tmp_path / ID, [make_record(batch=n) for n in range(1, 6)])


def test_server_lost_while_sending_is_not_tried_again(monkeypatch, tmp_path):
    fake = Fake(ConnectionError("reset by peer"), at=3)
    logged = faked(monkeypatch, fake, tmp_path)
    assert fake.calls == 3
    assert not fake.closed
    assert len(logged.runs) == 2  # what was sent is known
    assert "reset by peer" in logged.problem


def test_refused_record_does_not_stop_the_others(monkeypatch, tmp_path):
    fake = Fake(ValueError("no such metric"), at=2)
    logged = faked(monkeypatch, fake, tmp_path)
    assert fake.calls == 5
    assert fake.closed
    assert len(logged.runs) == 4
    assert logged.problem == "MLflow refused 1 of the trials (digits-onnxruntime-fp32-b2-c1: no such metric)"


def test_unwritable_folder_is_a_line_and_not_an_exception(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    records = make_records()
    settings = make_settings(blocked / "outputs")
    logged = send(settings, tmp_path / ID, records)
    assert logged.problem.startswith(f"MLflow store sqlite:///{blocked}")


# --- addresses, links, environment ------------------------------------------------------------------------------------


def test_store_uri_follows_config_environment_and_default(tmp_path):
    settings = make_settings(tmp_path)
    assert store_uri(settings, {}) == f"sqlite:///{tmp_path}/mlflow.db"
    assert store_uri(settings, {"MLFLOW_TRACKING_URI": "http://a:5000/"}) == "http://a:5000"
    explicit = replace(settings, tracking={"name": "server", "uri": "http://b:1"})
    assert store_uri(explicit, {"MLFLOW_TRACKING_URI": "http://a:5000"}) == "http://b:1"
    nothing = replace(settings, tracking={"name": "none", "uri": None})
    assert store_uri(nothing, {"MLFLOW_TRACKING_URI": "http://a:5000"}) is None
    with pytest.raises(UserError, match=r"tracking\.uri=http"):
        store_uri(replace(settings, tracking={"name": "server", "uri": None}), {})
    with pytest.raises(UserError, match="use tracking=local"):
        store_uri(replace(settings, tracking={"name": "servr", "uri": None}), {})


def test_artifacts_stay_in_outputs_unless_a_server_decides(tmp_path):
    settings = make_settings(tmp_path / "a b")
    assert address.artifact_location(settings, "sqlite:///x.db") == f"file://{tmp_path}/a%20b/mlartifacts"
    assert address.artifact_location(settings, "http://a:5000") is None


def test_links_open_sorted_and_filtered(tmp_path):
    settings, ui = make_settings(tmp_path), "http://127.0.0.1:5001"
    found = make_links(ui, "3", settings.objective, parent="p1", sweep_id=ID, top=["r1", "r2"])
    page, _, query = found["trials"].partition("?")
    values = dict(urllib.parse.parse_qsl(query))
    assert page == "http://127.0.0.1:5001/#/experiments/3/runs"
    assert values["searchFilter"] == 'tags.`sweep.kind` = "trial"'
    assert values["orderByKey"] == "metrics.`throughput_items_per_s`"
    assert values["orderByAsc"] == "false"
    assert found["parent"].endswith("/#/experiments/3/runs/p1")
    compared = dict(urllib.parse.parse_qsl(found["compare"].partition("?")[2]))
    assert json.loads(compared["runs"]) == ["r1", "r2"]
    assert json.loads(compared["experiments"]) == ["3"]
    name, value = make_shared_view(settings.objective, ID, ["batch"])
    view = json.loads(value)
    assert found["sweep"].endswith(f"?viewStateShareKey={name.removeprefix('mlflow.sharedViewState.')}")
    assert ID in view["searchFilter"]
    assert view["orderByKey"] == "metrics.`throughput_items_per_s`"
    assert view["columnOrder"][:2] == ["params.`batch`", view["orderByKey"]]
    assert "params.`batch`" in view["selectedColumns"]
    latency = replace(settings.objective, metric="latency_ms_p50", maximize=False)
    assert "orderByAsc=true" in make_links(ui, "3", latency)["trials"]
    assert "compare" not in make_links(ui, "3", latency, top=["one"])


def test_captured_environment_is_an_allow_list(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush-hush")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    captured = environment.capture()
    assert "hush-hush" not in json.dumps(captured)
    assert captured["variables"]["OMP_NUM_THREADS"] == "3"
    assert captured["packages"]["mlflow"].startswith("3.")


@pytest.mark.process
def test_mlflow_is_not_imported_before_it_is_needed():
    code = "import sys, sweep.report.mlflow.tracker; sys.exit('mlflow' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the UI -----------------------------------------------------------------------------------------------------------

SERVER = """
import http.server, json, os, sys
ANSWERS = {"/health": "OK",
 "/api/2.0/mlflow/experiments/get-by-name?experiment_name=digits": {"experiment": {"experiment_id": "4"}}}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.answer(ANSWERS.get(self.path))
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ids = ["parent"] if "sweep.kind" in asked["filter"] else ["r1", "r2"]
        data = {"tags": [{"key": "sweep.id", "value": "S1"}]}
        self.answer({"runs": [{"info": {"run_id": i}, "data": data} for i in ids]})
    def answer(self, value):
        self.send_response(200 if value else 404); self.end_headers(); self.wfile.write(json.dumps(value).encode())
    def log_message(self, *_): pass
print("jobs", os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"], flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.mark.process
def test_the_ui_is_started_and_ended_with_links_between(tmp_path):
    said, stop, port = [], threading.Event(), ui.free_port(None)

    def say(line):
        said.append(line)
        if "all trials" in line:
            stop.set()

    command = [sys.executable, "-c", SERVER, "{port}"]
    assert ui.serve(make_settings(tmp_path), port, say=say, stop=stop, command=command) == 0
    text = "\n".join(said)
    assert f"http://127.0.0.1:{port}/#/experiments/4/runs?viewStateShareKey=S1" in text
    assert f"http://127.0.0.1:{port}/#/experiments/4/runs/parent" in text
    assert "compare-runs?runs=%5B%22r1%22%2C%22r2%22%5D" in text
    assert said[-1] == "The MLflow UI is stopped."
    assert (tmp_path / "mlflow_ui.log").read_text() == "jobs false\n"
    assert ui.free_port(port) == port  # nothing listens any more


def test_taken_port_is_an_error_and_default_takes_the_next(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is taken"):
            ui.free_port(port)
        monkeypatch.setattr(ui, "PORT", port)
        assert port < ui.free_port(None) < port + 20


@pytest.mark.process
def test_a_ui_that_does_not_start_says_why(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no such store')"]
    with pytest.raises(UserError, match=r"did not start \(no such store\)"):
        ui.serve(make_settings(tmp_path), say=lambda _: None, command=command)


def test_untracked_sweep_can_be_sent_later(settings, folder):
    untracked = replace(settings, tracking={"name": "none", "uri": None})
    assert send(untracked, folder, [make_record()]).problem is None
    assert len(children(settings)) == 1


def test_ui_command_serves_this_machine_with_one_worker(tmp_path):
    words = ui._command("sqlite:///x.db", make_settings(tmp_path))
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options["--host"] == "127.0.0.1"
    assert options["--workers"] == "1"
    assert options["--backend-store-uri"] == "sqlite:///x.db"


@pytest.mark.process
def test_the_real_ui_shows_a_sweep_and_leaves_no_process(settings, folder):
    import psutil

    before = set(psutil.Process(os.getpid()).children(recursive=True))
    send(settings, folder, [make_record(), make_record("run_failed", batch=5, kind=FailureKind.TIMEOUT)])
    said, stop = [], threading.Event()

    def say(line):
        said.append(line)
        if "all trials" in line or "no runs" in line:
            stop.set()

    assert ui.serve(settings, say=say, stop=stop) == 0
    assert "viewStateShareKey" in "\n".join(said)
    assert set(psutil.Process(os.getpid()).children(recursive=True)) <= before
