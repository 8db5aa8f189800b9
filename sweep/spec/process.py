"""What the process around a model is set to. Worker side, Python 3.8."""

from dataclasses import dataclass, fields
from typing import Dict

from sweep.spec.declared import setting


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

    def list_unusual(self) -> Dict[str, str]:
        """The settings that are not the default, by name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value != "default"}

    @property
    def environment(self) -> Dict[str, str]:
        """Variables that must be set before a runtime is loaded."""
        policy = self.omp_wait_policy
        return {} if policy == "default" else {"OMP_WAIT_POLICY": policy.upper()}
