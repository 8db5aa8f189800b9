"""TensorFlow's exceptions, as far as the Neuron operator raises them."""

from typing import Any


class OpError(Exception):
    """With the node and the operation that failed, which are None here, the text, and TensorFlow's error code."""

    code = 2

    def __init__(self, node_def: Any, op: Any, message: str, *args: Any) -> None:
        super().__init__(node_def, op, message)
        self.node_def = node_def
        self.op = op
        self.message = message

    @property
    def error_code(self) -> int:
        return self.code

    def __str__(self) -> str:
        return self.message


class InvalidArgumentError(OpError):
    code = 3


class NotFoundError(OpError):
    code = 5


class ResourceExhaustedError(OpError):
    code = 8


class FailedPreconditionError(OpError):
    code = 9


class UnimplementedError(OpError):
    code = 12


class InternalError(OpError):
    code = 13


class UnavailableError(OpError):
    code = 14


class OperatorNotAllowedInGraphError(TypeError):
    """Something that needs numbers was done with a tensor that has none yet."""
