"""`python -m sweep ui`: the MLflow UI on this machine: the right store, few processes, links that open sorted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sweep.isolate.interrupts import terminate_as_interrupt
from sweep.report.mlflow.address import CLIENT, is_server, store_uri, with_tracking
from sweep.report.mlflow.links import PORT, make_links
from sweep.spec import Json, UserError
from sweep.spec.settings import Settings
from sweep.store import query
from sweep.verbs.arguments import OUTPUTS, Outputs, SweepName

HOST = "127.0.0.1"
START_SECONDS = 120.0


def serve(
    settings: Settings,
    port: int | None = None,
    *,
    say: Callable[[str], None] = print,
    stop: threading.Event | None = None,
    command: Sequence[str] | None = None,
) -> int:
    """Start the UI and print the links; at Ctrl-C (or `stop`) end the UI with all its processes.

    Args:
        port: None: 5000, or the next free one.
        command: another program to run, with `{port}` in its words; for tests.
    Returns:
        Exit status: 0 after a stop, 1 where the server ended by itself.
    Raises:
        UserError: the port is taken, or the server does not start.
    """
    settings = with_tracking(settings)
    uri = str(store_uri(settings))
    if is_server(uri):
        say(f"The tracking server is at {uri}")
        _say_links(settings, uri, say)
        return 0
    chosen = free_port(port)
    say(f"Starting the MLflow UI for {uri} (takes some seconds) ...")
    words = command or _command(uri, settings)
    environment = {**os.environ, **CLIENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    logs = settings.outputs_path / "mlflow_ui.log"
    logs.parent.mkdir(parents=True, exist_ok=True)
    with logs.open("wb") as log:
        server = subprocess.Popen(
            [word.replace("{port}", str(chosen)) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # Ctrl-C comes to us alone; we end the server's whole process group
        )
    try:
        with terminate_as_interrupt():
            return _attend(server, settings, f"http://{HOST}:{chosen}", logs, say, stop or threading.Event())
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)
        say("The MLflow UI is stopped.")


def free_port(port: int | None) -> int:
    """A port on this machine that nothing listens on.

    Raises:
        UserError: `port` was asked for and is taken, or none of twenty is free.
    """
    for candidate in [port] if port is not None else range(PORT, PORT + 20):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
                return candidate
            except (OSError, OverflowError):
                continue
    if port is not None:
        raise UserError(f"port {port} is taken or not allowed: choose another with --port, or leave it out")
    raise UserError(f"ports {PORT} to {PORT + 19} are all taken: choose another with --port")


def _command(uri: str, settings: Settings) -> list[str]:
    artifacts = (settings.outputs_path.absolute() / "mlartifacts").as_uri()
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--default-artifact-root", artifacts]
    return [*words, "--host", HOST, "--port", "{port}", "--workers", "1"]


def _attend(
    server: subprocess.Popen[bytes],
    settings: Settings,
    base: str,
    logs: Path,
    say: Callable[[str], None],
    stop: threading.Event,
) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(base):
        if stop.wait(0.25):
            return 0
        if server.poll() is not None or time.monotonic() > deadline:
            lines = logs.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise UserError(f"the MLflow UI did not start ({lines[-1] if lines else 'no output'}); log: {logs}")
    say(f"MLflow UI: {base}  (Ctrl-C stops it)")
    _say_links(settings, base, say)
    while not stop.wait(1.0):
        if server.poll() is not None:
            say(f"The MLflow UI ended by itself (exit status {server.returncode}); log: {logs}")
            return 1
    return 0


def _healthy(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _say_links(settings: Settings, base: str, say: Callable[[str], None]) -> None:
    """Print links to the experiment and its newest sweep. They come over HTTP, so that MLflow is not imported here."""
    objective = settings.objective
    direction = "DESC" if objective.maximize else "ASC"
    try:
        name = urllib.parse.quote(settings.name)
        experiment = _ask(f"{base}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}")
        experiment_id = str(experiment["experiment"]["experiment_id"])
        parent, sweep_id, top = None, None, []
        for run in _search(base, experiment_id, "tags.`sweep.kind` = 'sweep'", "attributes.start_time DESC", 1):
            tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
            parent, sweep_id = run["info"]["run_id"], tags.get("sweep.id")
            mine = f"tags.`sweep.id` = '{sweep_id}' and tags.`sweep.status` = 'ok'"
            best = _search(base, experiment_id, mine, f"metrics.`{objective.metric}` {direction}", 5)
            top = [run["info"]["run_id"] for run in best]
    except (OSError, ValueError, KeyError):
        say(f"  experiment {settings.name!r} has no runs yet")
        return
    names = {
        "sweep": f"newest sweep, best {objective.metric} first",
        "parent": "its summary: verdict, tables, plots",
        "compare": f"its best {len(top)} beside each other",
        "trials": f"all trials of {settings.name}, best first",
    }
    addresses = make_links(base, experiment_id, objective, parent=parent, sweep_id=sweep_id, top=top)
    for key, text in names.items():
        if key in addresses:
            say(f"  {text}:\n    {addresses[key]}")


def _search(base: str, experiment_id: str, filter_text: str, order: str, limit: int) -> list[Json]:
    request = {"experiment_ids": [experiment_id], "filter": filter_text, "order_by": [order], "max_results": limit}
    return list(_ask(f"{base}/api/2.0/mlflow/runs/search", request).get("runs") or [])


def _ask(url: str, body: Json | None = None) -> Json:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        content: Json = json.loads(answer.read())
        return content


def _end(server: subprocess.Popen[bytes]) -> None:
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(server.pid, number)
            server.wait(patience)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait()
    try:
        os.killpg(server.pid, signal.SIGKILL)  # what the server's leader left behind
    except (ProcessLookupError, PermissionError):
        pass


def ui(
    port: Annotated[int | None, typer.Option(help="On 127.0.0.1; default: 5000 or the next free one.")] = None,
    sweep: SweepName = "last",
    outputs: Outputs = OUTPUTS,
) -> int:
    """Start the MLflow UI on the right store and print links that open sorted by the objective."""
    return int(serve(query.settings(query.history(outputs, sweep)), port) or 0)
