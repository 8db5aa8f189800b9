"""What padding alone does to a model's answers: the original runs again on samples padded as in a trial.

`check` is the worker's entry; the parent asks `find_padded_sizes` which samples a trial pads. Worker side, Python 3.8.
"""

from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import numpy as np

from sweep import files, workloads
from sweep.spec import Json, from_json
from sweep.spec.requests import PaddedReferenceRequest
from sweep.worker import arrays as materials
from sweep.worker import batching
from sweep.worker.answers import run_in_batches
from sweep.worker.batching import Bucket

ANSWERS = "answers.npz"


def check(request: Json, folder: Path) -> Json:
    """Answers of the original model to some samples with their padding: a `PaddedReferenceRequest`.

    Leaves answers.npz (index, output_0, ...) in the folder, the samples in ascending order.
    """
    wanted = from_json(PaddedReferenceRequest, request)
    data, padding = Path(wanted.data_folder), wanted.padding
    inputs = materials.read_data(data)
    sizes = batching.find_own_sizes(inputs, materials.read_sizes(data), padding)
    original = workloads.Original(workloads.load_original(wanted.model, tuple(inputs), wanted.data))
    index: List[np.ndarray] = []
    parts: List[List[np.ndarray]] = []
    for items, bucket in _group_by_shape(wanted):
        arrays = batching.fit_samples(inputs, items, bucket, padding, sizes)
        index.append(items)
        parts.append(run_in_batches(original, arrays))
    every = np.concatenate(index)
    order = np.argsort(every)
    outputs = [np.concatenate(arrays)[order] for arrays in zip(*parts)]
    files.save_arrays(folder / ANSWERS, materials.name_outputs(every[order], outputs))
    return {"samples": len(every)}


def _group_by_shape(request: PaddedReferenceRequest) -> List[Tuple[np.ndarray, Optional[Bucket]]]:
    """Samples that are padded to the same shape."""
    items = np.array(request.items, np.int64)
    if request.shapes is None:
        return [(items, None)]
    distinct, which = np.unique(np.array(request.shapes), axis=0, return_inverse=True)
    return [(items[which.ravel() == number], tuple(shape.tolist())) for number, shape in enumerate(distinct)]


def find_padded_sizes(
    buckets: Sequence[Optional[Bucket]], sizes: np.ndarray, stored: Sequence[int], batch: int, items: np.ndarray
) -> Optional[np.ndarray]:
    """(N, D): the size to which a trial pads each sample; None if samples stay as they are stored.

    Args:
        buckets: of the trial's builds, as in `BuildSpec.bucket`.
        sizes: (N, D), of the samples.
        stored: size of the stored arrays along the bucket dimensions.
        batch: samples in a request. With dynamic sizes its largest sample counts.
        items: the samples that are scored, ascending; the sizes of others mean nothing where sizes are dynamic.
    """
    if buckets[0] is None:
        return None
    if buckets[0] == ():
        padded = sizes.copy()
        for some in batching.split(items, batch):
            padded[some] = sizes[some].max(axis=0)
        return padded
    wide = np.array([batching.widen(bucket or (), len(stored)) for bucket in buckets])
    chosen: np.ndarray = wide[batching.route(sizes, [bucket or () for bucket in buckets])]
    return chosen
