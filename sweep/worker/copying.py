"""Copies of prepared inputs, for a model that writes into them: a request that is sent again has to be as it was.

The copy is made inside the time of the request. Worker side, Python 3.8.
"""

from typing import Any

import numpy as np

from sweep.backends.base import Runner


def give_copies(runner: Runner) -> Runner:
    """Let a runner work on copies. One of a device that runs on its own copies its requests there anyway."""
    if runner.asynchronous:
        return runner
    run = runner.run
    runner.run = lambda request: run(copy_request(request))  # type: ignore[method-assign]  # of this one
    return runner


def copy_request(request: Any) -> Any:
    """What `Runner.prepare` returned, with arrays and tensors of its own."""
    if isinstance(request, dict):
        return {name: copy_request(part) for name, part in request.items()}
    if isinstance(request, (tuple, list)):
        return type(request)(copy_request(part) for part in request)
    if isinstance(request, np.ndarray):
        return request.copy()
    return request.clone() if hasattr(request, "clone") else request
