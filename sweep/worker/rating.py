"""Score stored answers against the labels by the metrics of `data.metrics`, which may be functions of the user.

Worker side, Python 3.8.
"""

from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from sweep.spec import Json, UserError
from sweep.spec.requests import MetricsRequest
from sweep.spec.user_code import running
from sweep.worker import arrays, scoring
from sweep.workloads import metrics

Values = Dict[str, Optional[float]]


def rate(request: MetricsRequest) -> Json:
    """The values of a build and of the original over the same samples, by metric; None where one is not finite.

    Raises:
        UserError: a metric cannot be loaded, or does not fit the answers.
    """
    index, outputs = scoring.read_answers(Path(request.answers))
    labels = _read_labels(request.data, Path(request.data_folder))
    labels = None if labels is None else labels[index]
    original = arrays.read_reference(Path(request.reference))
    if len(index) < len(original[0]):  # else they stay mapped
        original = [array[index] for array in original]
    return {
        "build": compute(request.data, outputs, labels),
        "original": compute(request.data, original, labels),
    }


def check_original(data: Mapping[str, object], data_folder: Path, reference: Path) -> None:
    """Score the original's answers once, so that a mistake in `data.metrics` shows before anything is built.

    Raises:
        UserError: as `rate`.
    """
    if data.get("metrics"):
        compute(data, arrays.read_reference(reference), _read_labels(data, data_folder))


def compute(data: Mapping[str, object], outputs: Sequence[np.ndarray], labels: Optional[np.ndarray]) -> Values:
    """All metrics of a data set's config, by name."""
    names: List[str] = [str(name) for name in data.get("metrics") or ()]  # type: ignore[attr-defined]  # a list
    axis, ignored = (None if data.get(key) is None else int(str(data[key])) for key in ("class_axis", "ignore_label"))
    with running("data.metrics"):
        return {name: metrics.compute(name, outputs, labels, axis, ignored) for name in names}


def _read_labels(data: Mapping[str, object], folder: Path) -> Optional[np.ndarray]:
    labels, _ = arrays.read_labels(folder)
    named = [str(name) for name in data.get("metrics") or () if name in metrics.NAMED]  # type: ignore[attr-defined]
    if labels is None and named:
        raise UserError("data.metrics: %s needs labels, data %s has none" % (", ".join(named), data.get("name")))
    return labels
