"""What the statuses of the Neuron runtime become in TensorFlow: its own line on stderr, and one of `tf.errors`."""

import re
import sys
from typing import Any, Dict, Tuple

from tensorflow import errors

_FILE = "tensorflow/neuron/runtime/direct/adaptor.cc"
MESSAGES: Dict[int, str] = {
    1: "Non specific failure",
    2: "Invalid argument",
    3: "Invalid handle",
    4: "Failed to allocate a resource for requested operation",
    5: "Operation timed out",
    6: "Hardware failure",
    9: "Failed to allocate enough NeuronCores for loading a NEFF",
    10: "Unsupported version of NEFF",
    11: "Not enough host memory",
    1002: "Invalid input has been submitted to exec()",
    1003: "Execution was completed with numerical errors (produced NaN)",
    1004: "Execution was completed with other errors",
}
_LOAD: Dict[int, Tuple[Any, str]] = {
    2: (errors.InvalidArgumentError, "NEFF is invalid; it could be broken or hacked"),
    4: (errors.ResourceExhaustedError, "Not enough runtime resource to load NEFF"),
    9: (errors.ResourceExhaustedError, ""),
    10: (errors.InvalidArgumentError, ""),
    11: (errors.ResourceExhaustedError, ""),
}
_EXECUTE: Dict[int, Tuple[Any, str]] = {
    2: (errors.InvalidArgumentError, "Invalid input_map"),
    3: (errors.InvalidArgumentError, "Invalid model/input handle"),
    1002: (errors.InvalidArgumentError, ""),
}
NUMERICAL = 1003  # TensorFlow ignores it: the NaN are in the answers and nothing else tells


def failed(kind: Any, line: int, what: str, status: int) -> errors.OpError:
    """The exception for a call of the runtime that returned this status."""
    text = '%s:%d:%s: status=%d, error message="%s".'
    error: errors.OpError = kind(None, None, text % (_FILE, line, what, status, MESSAGES.get(status, "")))
    return error


def init_failed(text: str) -> BaseException:
    """The runtime could not start, for the reason that it prints itself."""
    _print(text)
    return failed(errors.UnavailableError, 89, "Nrt::Init failed: nrt_init", 1)


def load_failed(text: str) -> BaseException:
    """A program could not be put on its cores. Texts without a status are those of a runtime that does not start."""
    status = _status(text)
    if status is None:
        return init_failed(text)
    _print(text)
    if status in _LOAD:
        kind, what = _LOAD[status]
        return failed(kind, 231, what + ": nrt_load", status)
    return failed(errors.InternalError, 240, "Nrt::Load failed on NeuronCores 0: nrt_load", status)


def execute_failed(text: str) -> BaseException:
    """A call of a loaded program failed."""
    _print(text)
    status = _status(text)
    if status is None:
        status = 5 if "timeout" in text else 6 if "HW_ERR" in text else 1
    kind, what = _EXECUTE.get(status, (errors.InternalError, "Execute failed"))
    return failed(kind, 383, what + ": nrt_execute", status)


def _status(text: str) -> Any:
    found = re.search(r"status=(\d+)", text)
    return int(found.group(1)) if found else None


def _print(text: str) -> None:
    sys.stderr.write("%s\n" % text)
    sys.stderr.flush()
