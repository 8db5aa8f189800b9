"""The verbs, one module each: look at past sweeps, resume and reproduce them. Imports everything below it."""

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run one verb, like ["why", "batch=5"]; its exit status."""
    from sweep.verbs import app

    return app.run(arguments)
