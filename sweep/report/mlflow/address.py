"""The address of the MLflow store and of its artifacts, and the settings of the MLflow client."""

import os
from collections.abc import Mapping
from dataclasses import replace

from sweep.spec import UserError
from sweep.spec.settings import Settings
from sweep.store.layout import OutputsFolder

# A server that is away must cost seconds; MLflow's own defaults wait four minutes for every call.
CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def store_uri(settings: Settings, environment: Mapping[str, str] | None = None) -> str | None:
    """`tracking.uri`, else MLFLOW_TRACKING_URI, else SQLite under `outputs`; None with `tracking=none`.

    Raises:
        UserError: `tracking=server` without an address, or a kind of tracking that does not exist.
    """
    environment = os.environ if environment is None else environment
    name = settings.tracking.get("name") or "local"
    if name == "none":
        return None
    if name not in ("local", "server"):
        raise UserError(f"tracking={name} does not exist: use tracking=local, tracking=server or tracking=none")
    uri = settings.tracking.get("uri") or environment.get("MLFLOW_TRACKING_URI")
    if uri:
        return str(uri).rstrip("/") if is_server(str(uri)) else str(uri)
    if name == "server":
        raise UserError(
            "tracking=server needs an address: add tracking.uri=http://HOST:5000 or set MLFLOW_TRACKING_URI"
        )
    return f"sqlite:///{OutputsFolder(settings.outputs_path.absolute()).database}"


def with_tracking(settings: Settings) -> Settings:
    """The settings with `tracking=local` instead of `tracking=none`, to see a sweep in MLflow afterwards."""
    if settings.tracking.get("name") != "none":
        return settings
    return replace(settings, tracking={**settings.tracking, "name": "local"})


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://", "databricks"))


def artifact_location(settings: Settings, uri: str) -> str | None:
    """The place of a new experiment's artifacts; None: the server decides."""
    return None if is_server(uri) else (settings.outputs_path.absolute() / "mlartifacts").as_uri()
