"""How many threads. TensorFlow refuses a change once an operation has run."""

from tensorflow import _session
from tensorflow._rules import broken

_threads = {"intra": 0, "inter": 0}


def _set(which: str, count: int) -> None:
    if _session.started() and _threads[which] != count:
        text = "%s op parallelism cannot be modified after initialization." % which.capitalize()
        raise broken("tf-threads-late", text, RuntimeError)
    _threads[which] = int(count)


def set_intra_op_parallelism_threads(num_threads: int) -> None:
    """Threads within one operation; 0: TensorFlow chooses."""
    _set("intra", num_threads)


def set_inter_op_parallelism_threads(num_threads: int) -> None:
    """Operations at a time; 0: TensorFlow chooses."""
    _set("inter", num_threads)


def get_intra_op_parallelism_threads() -> int:
    return _threads["intra"]


def get_inter_op_parallelism_threads() -> int:
    return _threads["inter"]
