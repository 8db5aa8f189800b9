"""Plan, references, builds, repeats, records; the parent, which never imports a framework. Imports all but verbs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.engine.session import Sweep

__all__ = ["Sweep"]


def __getattr__(name: str) -> Any:
    """`Sweep` when it is asked for: verbs that run nothing take single modules of the engine and start sooner."""
    if name != "Sweep":
        raise AttributeError(name)
    from sweep.engine.session import Sweep

    return Sweep
