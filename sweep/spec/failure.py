"""Why a build or a run did not work."""

import enum
from dataclasses import dataclass, field
from typing import Mapping, NamedTuple, Optional


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
    WRONG_RESOURCES = "wrong_resources"
    KEPT_ANSWERS = "kept_answers"
    PREEMPTED = "preempted"
    DISK_FULL = "disk_full"
    UNKNOWN = "unknown"

    @property
    def is_passing(self) -> bool:
        """The next try may end differently."""
        return _NATURES.get(self, _USUAL).is_passing

    @property
    def is_transient(self) -> bool:
        """It passes within seconds, so the same worker is tried again at once."""
        return _NATURES.get(self, _USUAL).is_transient

    @property
    def is_hopeless(self) -> bool:
        """No other option of the compiler helps."""
        return _NATURES.get(self, _USUAL).is_hopeless

    @property
    def is_fault_of_machine(self) -> bool:
        """The machine failed, or whoever stopped it: a search learns nothing about the settings."""
        return _NATURES.get(self, _USUAL).is_fault_of_machine


class _Nature(NamedTuple):
    is_passing: bool = False
    is_transient: bool = False
    is_hopeless: bool = False
    is_fault_of_machine: bool = False


_USUAL = _Nature()  # the same settings fail again, other settings may not


_NATURES = {
    FailureKind.PREEMPTED: _Nature(is_passing=True, is_hopeless=True, is_fault_of_machine=True),
    FailureKind.CORE_UNAVAILABLE: _Nature(is_passing=True, is_transient=True, is_fault_of_machine=True),
    FailureKind.HARDWARE_ERROR: _Nature(is_passing=True, is_fault_of_machine=True),
    FailureKind.TOOLCHAIN_MISSING: _Nature(is_passing=True, is_hopeless=True),
    FailureKind.CRASH: _Nature(is_passing=True),  # a lost worker; a compiler's own crash has a kind of its own
    FailureKind.DISK_FULL: _Nature(is_passing=True),
}


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
