"""What a result was measured with: versions, machine and the variables that change numbers.

Variables are an allow-list, so that no secret of the environment is ever stored.
"""

import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

from sweep import __version__
from sweep.hardware.host import detect
from sweep.isolate.procfs import read_processor
from sweep.spec import Json, installed, process

PACKAGES = (
    *("hydra-core", "mlflow", "neuronx-cc", "nncf", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxscript"),
    *("openvino", "optuna", "scipy", "tensorflow", "tensorrt", "torch", "torch-neuron", "torch-neuronx"),
    *("torchvision", "triton"),
)
VARIABLES = (
    *process.VARIABLES,
    *("CUDA_VISIBLE_DEVICES", "NEURON_CC_FLAGS", "NEURON_RT_NUM_CORES", "NEURON_RT_VISIBLE_CORES"),
    # A trial's `cores` go before these
    *("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTEROP_THREADS", "TF_NUM_INTRAOP_THREADS"),
)


def capture(host: Mapping[str, object] | None = None) -> Json:
    """Versions, machine and the environment variables that are known to change performance.

    Args:
        host: the result of `host.detect`, which is added as it is.
    """
    captured: Json = {
        "sweep": __version__,
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "processor": read_processor().model or platform.processor(),
        "features": " ".join(detect().features),
        "cpus": os.cpu_count(),
        "packages": {name: version for name, version in installed.versions(PACKAGES).items() if version is not None},
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    return {**captured, "host": dict(host)} if host else captured


def find_of_speed() -> dict[str, str]:
    """The variables of this process that change how fast or how exactly a model answers."""
    return {name: os.environ[name] for name in process.VARIABLES if name in os.environ}


def list_differences(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two captured environments, each as `name: old -> new`."""
    lines = []
    for name in sorted({*then, *now}):
        old, new = then.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += list_differences(old, new, f"{name} " if name != "packages" else "")
        elif name == "features" and None in (old, new):  # earlier versions did not look
            continue
        elif old != new and name not in ("host", "captured"):
            lines.append(
                f"{prefix}{name}: {'not there' if old is None else old} -> {'not there' if new is None else new}"
            )
    return lines
