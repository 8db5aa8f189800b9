"""Models that are names in tables of published results: there is nothing to load."""

from typing import Any

from sweep.spec import UserError
from sweep.workloads.base import Dataset

ADVICE = "is a name in a table of published results, which only backend=replay answers: choose another %s=..."


def model(published: Any = None) -> Any:
    """Raises: UserError, as there is no model. `published` says which results stand for it."""
    raise UserError("this model " + ADVICE % "model")


def data() -> Dataset:
    """Raises: UserError, as there is no data."""
    raise UserError("this data " + ADVICE % "data")
