"""What every entry point does first: note the call, and refuse arguments that no document names."""

import functools
import inspect
from typing import Any, Callable, TypeVar

from neuron_double import state
from tensorflow._rules import broken

Function = TypeVar("Function", bound=Callable[..., Any])


def documented(rule: str, name: str, package: str) -> Callable[[Function], Function]:
    """Decorates a function: other arguments than its own break `rule`; every call is recorded as `name`."""

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise broken(rule, "%s() %s" % (function.__name__, error), TypeError, package) from None
            plain = {key: value for key, value in given.items() if isinstance(value, (str, int, float, list, dict))}
            state.record(name, package=package, arguments={key: _short(value) for key, value in plain.items()})
            return function(*args, **kwargs)

        return called  # type: ignore[return-value]  # it stands for `function`

    return decorate


def _short(value: Any) -> Any:
    """As JSON can say it: arrays and tensors by their shape."""
    if isinstance(value, dict):
        return {str(key): _short(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(each) for each in value]
    return list(value.shape) if hasattr(value, "shape") else value
