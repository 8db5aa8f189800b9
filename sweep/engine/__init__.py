"""The engine: plan, references, builds, repeats, records; the parent that never imports a framework."""

from sweep.engine.session import Sweep

__all__ = ["Sweep"]
