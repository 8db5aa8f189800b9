"""What the process around a model is set to. Worker side, Python 3.8."""

from dataclasses import dataclass, fields
from typing import Dict

from sweep.spec.declared import setting

# Variables that reach a worker as they would reach a script, and change how fast or how exactly a model answers
VARIABLES = (
    *("ATEN_CPU_CAPABILITY", "CUDA_LAUNCH_BLOCKING", "DNNL_MAX_CPU_ISA", "GLIBC_TUNABLES", "GOMP_CPU_AFFINITY"),
    "GOMP_SPINCOUNT",
    *("KMP_AFFINITY", "KMP_BLOCKTIME", "KMP_LIBRARY", "LD_PRELOAD", "MALLOC_ARENA_MAX", "MALLOC_CONF"),
    *("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_PERTURB_", "MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_"),
    *("MKL_CBWR", "MKL_DYNAMIC", "MKL_ENABLE_INSTRUCTIONS", "MKL_THREADING_LAYER", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_DYNAMIC", "OMP_PLACES", "OMP_PROC_BIND", "OMP_SCHEDULE", "OMP_THREAD_LIMIT", "OMP_WAIT_POLICY"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "PYTHONDEVMODE", "PYTHONMALLOC"),
    *("PYTHONOPTIMIZE", "PYTHONTRACEMALLOC", "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS", "TORCHINDUCTOR_FREEZING"),
    "XLA_FLAGS",
)


@dataclass(frozen=True)
class Process:
    """Settings of the process that a model runs in; each default is what a plain `python script.py` has."""

    allocator: str = setting(
        "default", "keep: memory that the model frees stays with the process (glibc)", choices=("default", "keep")
    )
    omp_wait_policy: str = setting(
        "default",
        "idle threads of OpenMP wait busily (active) or asleep (passive)",
        choices=("default", "active", "passive"),
    )
    denormals: str = setting(
        "default", "flush: the processor takes denormal floats as zero", choices=("default", "flush")
    )
    gc: str = setting("default", "off: Python collects no garbage inside the timed window", choices=("default", "off"))

    copies: str = setting(
        "default", "threads: all replicas lie in one process, each fed by a thread", choices=("default", "threads")
    )

    def list_unusual(self) -> Dict[str, str]:
        """The settings that are not the default, by name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value != "default"}

    @property
    def environment(self) -> Dict[str, str]:
        """Variables that must be set before a runtime is loaded."""
        policy = self.omp_wait_policy
        return {} if policy == "default" else {"OMP_WAIT_POLICY": policy.upper()}
