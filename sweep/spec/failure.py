"""Why a build or a run did not work."""

import enum
from dataclasses import dataclass, field
from typing import Mapping, Optional


class FailureKind(str, enum.Enum):
    """What went wrong, in words that a person can act on."""

    UNSUPPORTED_OPERATOR = "unsupported_operator"
    UNSUPPORTED_DTYPE = "unsupported_dtype"
    DYNAMIC_SHAPE = "dynamic_shape"
    MODEL_TOO_LARGE = "model_too_large"
    GRAPH_TOO_LARGE = "graph_too_large"
    COMPILER_CRASH = "compiler_crash"
    HOST_OOM = "host_oom"
    DEVICE_OOM = "device_oom"
    TIMEOUT = "timeout"
    TOOLCHAIN_MISSING = "toolchain_missing"
    PARTIAL_PLACEMENT = "partial_placement"
    ARTIFACT_INCOMPATIBLE = "artifact_incompatible"
    CORE_UNAVAILABLE = "core_unavailable"
    SHAPE_MISMATCH = "shape_mismatch"
    NUMERICAL_ERROR = "numerical_error"
    HARDWARE_ERROR = "hardware_error"
    CRASH = "crash"
    WRONG_OUTPUT = "wrong_output"
    IMPLAUSIBLE_TIMING = "implausible_timing"
    PREEMPTED = "preempted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Failure:
    """Why a build or a run did not work."""

    kind: FailureKind
    summary: str  # one line
    log: Optional[str] = None  # path of the captured output
    exit_code: Optional[int] = None
    signal: Optional[str] = None  # "SIGSEGV"
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""  # runs the same worker again by hand

    def __post_init__(self) -> None:
        # What version 0.1 stored names the module by its old place; until 0.3.
        object.__setattr__(self, "command", self.command.replace(" sweep.forkserver ", " sweep.isolate.server "))
