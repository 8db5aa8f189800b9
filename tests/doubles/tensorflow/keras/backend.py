"""The session behind Keras in TensorFlow 1; little is left of it in TensorFlow 2."""

from typing import Any

from tensorflow import _session
from tensorflow._version import TF1


def clear_session() -> None:
    """Forget the session, and with it the names and weights made so far."""
    _session.reset()


def set_learning_phase(value: int) -> None:
    """0: inference, 1: training. Nothing here behaves differently in training."""
    if value not in (0, 1):
        raise ValueError("Expected learning phase to be 0 or 1.")


if TF1:

    def get_session() -> Any:
        """The one session that holds the weights of all models."""
        return _session.default()
